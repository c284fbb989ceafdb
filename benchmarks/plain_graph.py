"""Our ONNX of voc-fcn8s against a graph written by hand for 500×500 alone: same numbers, same time.

    python benchmarks/plain_graph.py [RUNS]

That our model is open to every size must cost nothing. Both run in turn, on two threads.
"""

from __future__ import annotations

import platform
import sys
import time
from statistics import median

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import fcnproto
from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.inference import inference
from fcnproto.exporting.write import write
from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render
from fcnproto.surgery.fit import fit

SIZE = 500
CLASSES = 21
CONVOLUTIONS = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}


class ByHand:
    """FCN-8s as one would write it for one size, operator by operator."""

    def __init__(self, weights, blobs):
        self.weights, self.blobs = weights, blobs
        self.nodes, self.tensors = [], []

    def tensor(self, name, array):
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolution(self, blob, name, pad=0, relu=True):
        kernel, bias = self.weights[name]
        inputs = [blob, self.tensor(f"{name}/0", kernel), self.tensor(f"{name}/1", bias)]
        output = self.node("Conv", inputs, f"{name}/conv" if relu else name, pads=[pad] * 4)
        return self.node("Relu", [output], name) if relu else output

    def upsampling(self, blob, name, stride):
        channels = np.arange(CLASSES)
        kernel = self.weights[name][0][channels, channels][:, None]
        inputs = [blob, self.tensor(f"{name}/0", kernel)]
        return self.node("ConvTranspose", inputs, name, group=CLASSES, strides=[stride] * 2)

    def crop(self, blob, name, offset, size):
        numbers = {"starts": [offset] * 2, "ends": [offset + size] * 2, "axes": [2, 3]}
        inputs = [self.tensor(f"{name}/{key}", np.array(value)) for key, value in numbers.items()]
        return self.node("Slice", [blob, *inputs], name)

    def model(self):
        blob = "data"
        for block, convolutions in CONVOLUTIONS.items():
            for number in range(1, convolutions + 1):
                pad = 100 if blob == "data" else 1
                blob = self.convolution(blob, f"conv{block}_{number}", pad)
            window = {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}
            blob = self.node("MaxPool", [blob], f"pool{block}", **window)
        blob = self.convolution(self.convolution(blob, "fc6"), "fc7")
        blob = self.convolution(blob, "score_fr", relu=False)
        for up, pool, offset in (("upscore2", "pool4", 5), ("upscore_pool4", "pool3", 9)):
            blob = self.upsampling(blob, up, 2)
            skip = self.convolution(pool, f"score_{pool}", relu=False)
            skip = self.crop(skip, f"score_{pool}c", offset, self.blobs[up][2])
            blob = self.node("Add", [blob, skip], f"fuse_{pool}")
        self.crop(self.upsampling(blob, "upscore8", 8), "score", 31, SIZE)
        image = helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
        score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, CLASSES, SIZE, SIZE])
        graph = helper.make_graph(self.nodes, "by hand", [image], [score], self.tensors)
        opset = helper.make_operatorsetid("", 21)
        return helper.make_model(graph, opset_imports=[opset], ir_version=10)


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    print(f"{platform.machine()}, Python {platform.python_version()}", end=", ")
    print(f"fcnproto {fcnproto.__version__}, onnxruntime {onnxruntime.__version__}", end=", ")
    print(f"onnx {onnx.__version__}; 2 threads, {runs} runs")
    graph = build(parse_net(render("voc-fcn8s")))
    shapes = infer(graph)
    rng = np.random.default_rng(0)
    weights = {
        layer: [rng.standard_normal(a.shape, np.float32) * np.float32(0.02) for a in arrays]
        if layer not in ("upscore2", "upscore_pool4", "upscore8")
        else arrays
        for layer, arrays in fit([], graph, shapes).weights.items()
    }
    sessions = {
        "ours": session(write(with_weights(inference(graph), weights)).to_proto()),
        "by hand": session(ByHand(weights, shapes.blobs).model()),
    }
    image = {"data": rng.standard_normal((1, 3, SIZE, SIZE), np.float32) * 60}
    scores = {name: run.run(None, image)[0] for name, run in sessions.items()}
    difference = np.abs(scores["ours"] - scores["by hand"]).max() / np.abs(scores["ours"]).max()
    print(f"largest difference {difference:.1e} of the largest score")
    seconds = {name: [] for name in sessions}
    for _ in range(runs):
        for name, run in sessions.items():
            start = time.perf_counter()
            run.run(None, image)
            seconds[name].append(time.perf_counter() - start)
    for name, times in seconds.items():
        print(f"{name:8s} median {median(times):.2f} s, fastest {min(times):.2f} s")
    print(f"ratio of medians {median(seconds['ours']) / median(seconds['by hand']):.2f}")


if __name__ == "__main__":
    main()
