"""Milliseconds to upsample scores and crop them: what the plain model does, and other exact ways.

    python benchmarks/upsampling.py [--runs 9] [--threads 2] [--sizes 224 500 1000 4000]
        [--channels 21 60] [--factors 2 8 16 32] [--labels]

Medians, [fastest] runs and (ratios of medians to `grouped`) are printed. `dense` has a kernel for
every pair of channels, as published nets store them; `grouped` one for each channel, as the plain
model has; `resize` is ONNX's Resize, where that is the same; `products` are the two matrix products
of fcnproto.exporting.rewrite.matrix_upsampling; `chosen` is what that writes, which decides by the
size. All run in turn in one process on one pool of threads. With --labels an ArgMax follows, as
where labels are exported. Sizes are those of the image.
"""

from __future__ import annotations

import argparse
import platform
from statistics import median
from time import perf_counter
from unittest import mock

import numpy as np
import onnxruntime
from onnx import TensorProto

import fcnproto
from fcnproto.exporting.rewrite import matrix_upsampling as rewrite
from fcnproto.layers.crop import Crop
from fcnproto.layers.deconvolution import Deconvolution
from fcnproto.layers.fillers import bilinear_kernel
from fcnproto.model.builder import Builder, TitledArray, model_of
from fcnproto.net.graph import Node
from fcnproto.proto.caffe_pb2 import LayerParameter

OFFSETS = {2: 5, 8: 31, 16: 27, 32: 19}
"""Of crops in the published nets."""
MOST_DENSE = 2e11
"""Kernels for every pair of channels are not run where they take more multiply-adds than this."""
LARGE_SCORES = 2**28
"""No scores are computed that are more numbers than this."""


class Written:
    """A way to write the layers from scores and image to cropped scores."""

    def __init__(self, factor, channels):
        self.channels, self.factor, self.offset = channels, factor, OFFSETS[factor]
        proto = LayerParameter(name="up")
        proto.convolution_param.num_output = channels
        proto.convolution_param.bias_term = False
        proto.convolution_param.kernel_size.append(2 * factor)
        proto.convolution_param.stride.append(factor)
        crop = LayerParameter(name="crop")
        crop.crop_param.offset.append(self.offset)
        self.kernels = np.zeros((channels, channels, 2 * factor, 2 * factor), np.float32)
        self.kernels[np.arange(channels), np.arange(channels)] = bilinear_kernel(2 * factor)
        self.layer = rewrite.Upsampling(Deconvolution(proto), Crop(crop))

    def session(self, how, labels):
        scores, images = (None, self.channels, None, None), (None, 1, None, None)
        builder = Builder(21, {"scores": scores, "image": images})
        builder.stand_beside("up")
        result = getattr(self, how)(builder)
        kind, sizes = TensorProto.FLOAT, ("N", self.channels, "H", "W")
        if labels:
            best = builder.node("ArgMax", result, axis=1, keepdims=0)
            result = builder.node("Cast", best, to=TensorProto.UINT8)
            kind, sizes = TensorProto.UINT8, ("N", "H", "W")
        inputs = [
            ("scores", TensorProto.FLOAT, ("N", self.channels, "h", "w")),
            ("image", TensorProto.FLOAT, ("N", 1, "H", "W")),
        ]
        model = model_of(builder, how, inputs, [(result, kind, sizes)], {}, ("benchmark", "1"))
        options = onnxruntime.SessionOptions()
        options.use_per_session_threads = False
        return onnxruntime.InferenceSession(
            model.to_proto().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def dense(self, b):
        return self._cropped(b, self._deconvolved(b, self.kernels, 1), self.offset)

    def grouped(self, b):
        channels = np.arange(self.channels)
        kernels = self.kernels[channels, channels, None]
        return self._cropped(b, self._deconvolved(b, kernels, self.channels), self.offset)

    def resize(self, b):
        scales = b.literal([1, 1, self.factor, self.factor])
        large = b.node("Resize", "scores", "", scales, mode="linear")
        return self._cropped(b, large, self.offset - self.factor // 2)

    def products(self, b):
        with mock.patch.object(rewrite, "MOST_PRODUCTS", 10**6):
            return self.chosen(b)

    def chosen(self, b):
        node = Node(self.layer, ("scores", "image"), ("out",))
        (result,) = b.write(node, ["scores", "image"], [TitledArray("up/0", self.kernels)])
        return result

    def _deconvolved(self, b, kernels, group):
        stride = [self.factor] * 2
        weights = b.own("weights", kernels)
        return b.node("ConvTranspose", "scores", weights, strides=stride, group=group)

    def _cropped(self, b, large, offset):
        begins = b.ints([offset] * 2)
        ends = b.node("Add", b.sizes("image", 2, 4), begins)
        return b.node("Slice", large, begins, ends, b.ints([2, 3]))


def contenders(factor, channels, size, small):
    """The ways that are tried at a size."""
    names = ["grouped", "products", "chosen"]
    if OFFSETS[factor] >= factor:  # else the crop begins where the scores fade
        names.insert(1, "resize")
    if channels**2 * (small * 2 * factor) ** 2 <= MOST_DENSE:
        names.insert(0, "dense")
    return names


def measure(factor, channels, size, options):
    small = -(-(size + OFFSETS[factor] + factor) // factor) + 1
    if channels * (small * factor + factor) ** 2 > LARGE_SCORES * 4:
        print(f"{factor:3}× {channels:3} {size:5}  (not run: the scores would be too large)")
        return
    written = Written(factor, channels)
    sessions = {
        name: written.session(name, options.labels)
        for name in contenders(factor, channels, size, small)
    }
    rng = np.random.default_rng(0)
    feeds = {
        "scores": rng.standard_normal((1, channels, small, small), np.float32),
        "image": np.zeros((1, 1, size, size), np.float32),
    }
    results = {name: session.run(None, feeds)[0] for name, session in sessions.items()}
    wanted = results["grouped"]
    if not options.labels:
        for name, found in results.items():
            away = np.abs(found - wanted).max() / np.abs(wanted).max()
            assert away < 5e-6, (name, factor, size, away)
    del results, wanted
    seconds = {name: [] for name in sessions}
    for _ in range(options.runs):
        for name, session in sessions.items():
            start = perf_counter()
            session.run(None, feeds)
            seconds[name].append(perf_counter() - start)
    plain = median(seconds["grouped"])
    cells = [
        f"{name} {1000 * median(times):.1f} [{1000 * min(times):.1f}] ({median(times) / plain:.2f})"
        for name, times in seconds.items()
    ]
    print(f"{factor:3}× {channels:3} {size:5}  " + "  ".join(cells), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 500, 1000, 4000])
    parser.add_argument("--channels", type=int, nargs="+", default=[21, 60])
    parser.add_argument("--factors", type=int, nargs="+", default=[2, 8, 16, 32])
    parser.add_argument("--labels", action="store_true")
    options = parser.parse_args()
    onnxruntime.set_global_thread_pool_sizes(options.threads, 1)
    print(f"{platform.machine()}, Python {platform.python_version()}", end=", ")
    print(f"fcnproto {fcnproto.__version__}, onnxruntime {onnxruntime.__version__}", end=", ")
    print(
        f"{options.threads} threads, {options.runs} runs; milliseconds [fastest] (ratio to grouped)"
    )
    for channels in options.channels:
        for factor in options.factors:
            for size in options.sizes:
                measure(factor, channels, size, options)


if __name__ == "__main__":
    main()
