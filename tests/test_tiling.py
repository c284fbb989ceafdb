"""Tiles give what the whole image gives, bit for bit, shown on nets that reckon in integers."""

import numpy as np
import pytest
from exporting import exported, input_text, net_of, run, session_of

from fcnproto.errors import NetError
from fcnproto.tiles import Span, Tiling, spans
from fcnproto.tiling import tiling


def layer(kind, bottom, top, settings="", second=""):
    bottoms = f'bottom: "{bottom}"' + (f' bottom: "{second}"' if second else "")
    return f'layer {{ name: "{top}" type: "{kind}" {bottoms} top: "{top}" {settings} }}\n'


def conv(bottom, top, settings, outputs=2):
    return layer(
        "Convolution", bottom, top, f"convolution_param {{ num_output: {outputs} {settings} }}"
    )


def deconv(bottom, top, settings):
    settings = f"convolution_param {{ num_output: 2 bias_term: false {settings} }}"
    return layer("Deconvolution", bottom, top, settings)


def pool(bottom, top, settings):
    return layer("Pooling", bottom, top, f"pooling_param {{ {settings} }}")


def crop(bottom, top, like, offset):
    return layer("Crop", bottom, top, f"crop_param {{ axis: 2 offset: {offset} }}", like)


def add(first, second, top):
    return layer("Eltwise", first, top, "", second)


NETS = {
    "one pixel": conv("data", "score", "kernel_size: 1"),
    "a convolution": conv("data", "score", "kernel_size: 5 pad: 2"),
    "dilated": conv("data", "score", "kernel_size: 3 pad: 4 dilation: 4"),
    "rows and columns": conv(
        "data", "score", "kernel_h: 1 kernel_w: 7 pad_h: 0 pad_w: 3 stride_h: 1 stride_w: 1"
    ),
    "pooled at stride 1": pool("data", "score", "pool: MAX kernel_size: 3 stride: 1 pad: 1"),
    "one step": conv("data", "c", "kernel_size: 3 pad: 20")
    + pool("c", "p", "pool: MAX kernel_size: 2 stride: 2")
    + deconv("p", "u", "kernel_size: 4 stride: 2")
    + crop("u", "score", "data", 21),
    "overlapping windows": conv("data", "c", "kernel_size: 3 pad: 20 stride: 2")
    + pool("c", "p", "pool: MAX kernel_size: 3 stride: 2")
    + deconv("p", "u", "kernel_size: 7 stride: 4")
    + crop("u", "score", "data", 22),
    "two strides": conv("data", "c", "kernel_size: 3 pad: 20")
    + pool("c", "p2", "pool: MAX kernel_size: 2 stride: 2")
    + deconv("p2", "u2", "kernel_size: 4 stride: 2")
    + crop("u2", "c2", "data", 21)
    + pool("c", "p3", "pool: MAX kernel_size: 3 stride: 3")
    + deconv("p3", "u3", "kernel_size: 5 stride: 3")
    + crop("u3", "c3", "data", 20)
    + add("c2", "c3", "score"),
    "a skip": conv("data", "c", "kernel_size: 3 pad: 30")
    + pool("c", "p1", "pool: MAX kernel_size: 2 stride: 2")
    + conv("p1", "c2", "kernel_size: 3 pad: 1")
    + pool("c2", "p2", "pool: MAX kernel_size: 2 stride: 2")
    + deconv("p2", "u1", "kernel_size: 4 stride: 2")
    + crop("u1", "u1c", "p1", 1)
    + add("u1c", "p1", "sum")
    + deconv("sum", "u2", "kernel_size: 4 stride: 2")
    + crop("u2", "score", "data", 31),
}


def whole_weights(net, rng):
    return {
        net.graph.nodes[index].layer.name: [
            rng.integers(-1, 2, weight.shape).astype(np.float32) for weight in wanted
        ]
        for index, wanted in net.shapes.weights.items()
        if wanted
    }


def tiled(session, net, image, tile):
    """The output put together from tiles."""
    cut = tiling(net.graph, net.shapes)
    height, width = image.shape[2:]
    down, across = (
        list(spans(size, tile, cut.stride[axis], cut.before[axis], cut.after[axis]))
        for axis, size in enumerate((height, width))
    )
    rows = []
    for row in down:
        parts = []
        for column in across:
            piece = image[:, :, row.first : row.last, column.first : column.last]
            (found,) = run(session, {"data": piece}).values()
            top, left = row.start - row.first, column.start - column.first
            parts.append(found[:, :, top : row.end - row.first, left : column.end - column.first])
        rows.append(np.concatenate(parts, axis=3))
    return np.concatenate(rows, axis=2)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [(1, 1), (37, 53), (64, 40)])
def test_tiles_give_what_the_whole_image_gives(name, size):
    rng = np.random.default_rng(0)
    net = net_of(input_text(data=(1, 2, 64, 64)) + NETS[name])
    session = session_of(exported(net, whole_weights(net, rng)))
    image = rng.integers(-3, 4, (2, 2, *size)).astype(np.float32)
    (whole,) = run(session, {"data": image}).values()
    assert whole.shape[2:] == size
    assert np.abs(whole).max() < 2**20  # so that sums are exact in any order
    for tile in (4, 16, 21):
        np.testing.assert_array_equal(tiled(session, net, image, tile), whole)


@pytest.mark.parametrize("name", [name for name in NETS if name != "one pixel"])
def test_a_smaller_halo_would_not_do(name):
    """The receptive field is no larger than it must be: its last pixel matters."""
    net = net_of(input_text(data=(1, 2, 64, 64)) + NETS[name])
    ones = {
        net.graph.nodes[index].layer.name: [np.ones(weight.shape, np.float32) for weight in wanted]
        for index, wanted in net.shapes.weights.items()
        if wanted
    }
    session = session_of(exported(net, ones))
    cut = tiling(net.graph, net.shapes)
    size = 4 * max(cut.before[1], cut.after[1], 8)
    rng = np.random.default_rng(0)
    seen_before, seen_after = 0, 0
    image = rng.integers(1, 1000, (1, 2, 9 + max(cut.stride), size)).astype(np.float32)
    (base,) = run(session, {"data": image}).values()
    for pixel in range(size // 2, size // 2 + cut.stride[1]):
        changed = image.copy()
        changed[..., pixel] += 5000
        (found,) = run(session, {"data": changed}).values()
        columns = np.flatnonzero((found != base).any(axis=(0, 1, 2)))
        seen_before = max(seen_before, columns.max() - pixel)
        seen_after = max(seen_after, pixel - columns.min())
    assert (seen_before, seen_after) == (cut.before[1], cut.after[1])


def test_fcn_8s_of_caffe(golden):
    from fcnproto.graph import build
    from fcnproto.inference import inference
    from fcnproto.proto.source import read_net

    net = inference(build(read_net(golden / "layers" / "net_fcn8s_97x75.prototxt")))
    cut = tiling(net.graph, net.shapes)
    assert cut.stride == (32, 32)
    assert cut.before == cut.after


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (pool("data", "p", "pool: AVE global_pooling: true"), "p"),
        (layer("MVN", "data", "m"), "layer 'm'"),
        (layer("InnerProduct", "data", "ip", "inner_product_param { num_output: 2 }"), "ip"),
        (pool("data", "p", "pool: MAX kernel_size: 2 stride: 2"), "one pixel of the output is 2"),
    ],
)
def test_what_cannot_be_tiled(text, message):
    net = net_of(input_text(data=(1, 2, 8, 8)) + text)
    with pytest.raises(NetError, match=message):
        tiling(net.graph, net.shapes)


def test_spans_cover_an_axis_once():
    for size in (1, 31, 32, 33, 100, 257):
        for tile in (1, 32, 40, 1000):
            found = list(spans(size, tile, 32, 45, 50))
            covered = [pixel for span in found for pixel in range(span.start, span.end)]
            assert covered == list(range(size))
            for span in found:
                assert span.first % 32 == 0
                assert span.first <= max(0, span.start - 45)
                assert span.last >= min(size, span.end + 50)
    assert list(spans(10, 8, 4, 2, 1)) == [Span(0, 8, 0, 9), Span(8, 10, 4, 10)]


def test_tiling_is_a_value():
    assert Tiling((1, 2), (3, 4), (5, 6)) == Tiling((1, 2), (3, 4), (5, 6))
