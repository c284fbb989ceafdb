"""Nets of the zoo's layers computed by PyTorch: an oracle that shares no code with the exporter."""

import numpy as np
import torch
from torch.nn import functional


def compute(graph, weights, feeds):
    """The blobs of a net of convolutions, poolings and what goes with them, by name."""
    blobs = {name: torch.from_numpy(np.asarray(array)) for name, array in feeds.items()}
    with torch.inference_mode():
        for node in graph.nodes:
            if node.layer.feeds:
                continue
            bottoms = [blobs[bottom] for bottom in node.bottoms]
            arrays = [torch.from_numpy(each) for each in weights.get(node.layer.name, ())]
            blobs[node.tops[0]] = LAYERS[node.layer.type](node.layer.proto, arrays, *bottoms)
    return {name: blob.numpy() for name, blob in blobs.items()}


def one(values, default):
    return values[0] if values else default


def convolution(proto, arrays, x):
    p = proto.convolution_param
    return functional.conv2d(
        x, *arrays, stride=one(p.stride, 1), padding=one(p.pad, 0), groups=p.group
    )


def deconvolution(proto, arrays, x):
    p = proto.convolution_param
    return functional.conv_transpose2d(
        x, *arrays, stride=one(p.stride, 1), padding=one(p.pad, 0), groups=p.group
    )


def pooling(proto, _, x):
    p = proto.pooling_param
    if p.global_pooling:
        return x.mean((2, 3), keepdim=True)
    if p.pool == p.AVE:
        assert not p.pad
        return functional.avg_pool2d(x, p.kernel_size, p.stride, ceil_mode=True)
    return functional.max_pool2d(x, p.kernel_size, p.stride, p.pad, ceil_mode=True)


def crop(proto, _, x, like):
    p = proto.crop_param
    (offset,) = p.offset or (0,)
    assert p.axis == 2
    return x[:, :, offset : offset + like.shape[2], offset : offset + like.shape[3]]


def eltwise(proto, _, *xs):
    p = proto.eltwise_param
    assert p.operation == p.SUM
    return sum(x * c for x, c in zip(xs, p.coeff or [1] * len(xs), strict=True))


def lrn(proto, _, x):
    p = proto.lrn_param
    return functional.local_response_norm(x, p.local_size, p.alpha, p.beta, p.k)


def inner_product(_, arrays, x):
    return functional.linear(x.flatten(1), *arrays)


def power(proto, _, x):
    p = proto.power_param
    return (p.shift + p.scale * x) ** p.power


LAYERS = {
    "Convolution": convolution,
    "Deconvolution": deconvolution,
    "Pooling": pooling,
    "Crop": crop,
    "Eltwise": eltwise,
    "LRN": lrn,
    "InnerProduct": inner_product,
    "Power": power,
    "Scale": lambda proto, arrays, x: x * arrays[0].reshape(1, -1, 1, 1),
    "ReLU": lambda proto, arrays, x: functional.relu(x),
    "Dropout": lambda proto, arrays, x: x,
    "Softmax": lambda proto, arrays, x: x.softmax(1),
    "Concat": lambda proto, arrays, *xs: torch.cat(xs, 1),
}
