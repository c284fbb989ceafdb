"""Small stand-ins for the files that docs and help speak of: nets, weights, models, photographs.

The zoo's nets are thin here (docs_stand_in.py), so that weights of every net weigh kilobytes.
"""

import re
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import docs_stand_in
import numpy as np
import pytest
from PIL import Image

from fcnproto import weights
from fcnproto.exporting.export import export
from fcnproto.net.graph import build
from fcnproto.net.shapes import infer
from fcnproto.proto.caffe_pb2 import NetParameter, V1LayerParameter
from fcnproto.proto.source import parse_net
from fcnproto.rendering import fcn
from fcnproto.runtime.session import Session
from fcnproto.surgery.fit import WeightSource
from fcnproto.zoo import specs

OLD = """name: "old"
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 2 kernel_size: 3 } }
"""


@contextmanager
def thin_zoo():
    """Within the block the zoo's nets are thin, and published weights near, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((fcn, "render"), (docs_stand_in.fetch, "published")):
            patch.setattr(module, name, getattr(module, name))
        docs_stand_in.install()
        yield


def make(folder):
    """Weights of every net under its published name, models, photographs and a dataset."""
    published = docs_stand_in.fetch.published()
    with thin_zoo():
        for net, item in published.items():
            arrays = weights_of(net)
            for file in (f"{net}.npz", item.file):
                weights.write(folder / file, arrays)
        make_model(folder)
        make_foreign(folder)
        make_run(folder)
    make_old(folder)
    make_dataset(folder)


@contextmanager
def served(folder):
    """Within the block the folder's files are behind HTTP, at the address that is given."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Quiet, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def make_run(folder):
    """The model of a net of one's own, with three classes."""
    text = fcn.render("fcn32s", backbone="vgg-small", dataset="folder", classes=3)
    model = export(parse_net(text, "deploy.prototxt"), None, init=True).model
    (folder / "run").mkdir()
    model.save(folder / "run" / "model.onnx")


def make_old(folder):
    """A net and its weights as Caffe wrote them in 2014."""
    (folder / "old.prototxt").write_text(OLD)
    (folder / "new.prototxt").write_text(OLD.replace("num_output: 2", "num_output: 4"))
    parameter = NetParameter(name="old")
    layer = parameter.layers.add(name="c", type=V1LayerParameter.LayerType.Value("CONVOLUTION"))
    for shape in ((2, 3, 3, 3), (1, 1, 1, 2)):
        count = int(np.prod(shape))
        blob = layer.blobs.add(data=[0.5] * count)
        blob.num, blob.channels, blob.height, blob.width = shape
    (folder / "old.caffemodel").write_bytes(parameter.SerializeToString())


def make_dataset(folder):
    """Photographs, and a dataset of one's own with three classes."""
    rng = np.random.default_rng(0)
    pictures = [(rng.random((48, 64, 3)) * 255).astype(np.uint8) for _ in range(4)]
    Image.fromarray(pictures[0]).save(folder / "photo.jpg")
    places = ("photos", "data/images", "data/labels", "results", "labels")
    for place in places:
        (folder / place).mkdir(parents=True)
    for number, picture in enumerate(pictures):
        labels = Image.fromarray(picture[:, :, 0] // 86)
        for place in places:
            if place in ("photos", "data/images"):
                Image.fromarray(picture).save(folder / place / f"{number}.jpg")
            else:
                labels.save(folder / place / f"{number}.png")
    (folder / "depth").mkdir()
    slope = np.linspace(3000, 1500, 480)[:, np.newaxis] + np.zeros(640)
    Image.fromarray(slope.astype(np.uint16)).save(folder / "depth" / "0.png")
    (folder / "data" / "train.txt").write_text("0\n1\n2\n")
    (folder / "data" / "val.txt").write_text("3\n")
    (folder / "data" / "classes.txt").write_text("background\ncat\ndog\n")


def make_model(folder):
    """A net, its weights and its model; what Caffe might have computed; and a solver."""
    text = fcn.render("voc-fcn32s")
    (folder / "net.prototxt").write_text(text)
    net = parse_net(text, "net.prototxt")
    arrays = weights_of("voc-fcn32s")
    weights.write(folder / "net.npz", arrays)
    export(net, WeightSource("net.npz", arrays)).model.save(folder / "net.onnx")
    for name in ("a.onnx", "b.onnx"):
        shutil.copy(folder / "net.onnx", folder / name)
    image = np.random.default_rng(2).standard_normal((1, 3, 40, 50)).astype(np.float32)
    results = Session(folder / "net.onnx", "cpu").run({"data": image})
    np.savez(folder / "dump.npz", **{"in/data": image, "out/score": results["score"]})
    data = """layer {
      name: "data" type: "Python" top: "data" top: "label"
      python_param {
        module: "fcnproto.caffe_layers.folder_layers" layer: "FolderSegDataLayer"
        param_str: "{'data_dir': 'data', 'split': 'train', 'seed': 1}"
      }
    }"""
    first = re.compile(r"^layer \{.*?^\}", re.M | re.S)
    (folder / "train.prototxt").write_text(
        first.sub(data, fcn.render("voc-fcn32s", phase="train"), count=1)
    )
    (folder / "solver.prototxt").write_text(
        'train_net: "train.prototxt" base_lr: 1e-12 lr_policy: "fixed" max_iter: 1\n'
        'snapshot_prefix: "snapshot/train"\n'
    )


def make_foreign(folder):
    """VGG16's weights as others name and lay them out."""
    arrays = weights_of("vgg16")
    fc6 = arrays["fc6"][0]
    arrays["fc6"][0] = fc6.reshape(-1, 8, 7, 7).transpose(0, 2, 3, 1).reshape(fc6.shape)
    other = {}
    for layer, (kernels, biases) in arrays.items():
        other[f"vgg_16/{layer}/weights"] = kernels.transpose(*range(2, kernels.ndim), 1, 0)
        other[f"vgg_16/{layer}/biases"] = biases
    np.savez(folder / "other.npz", **other)
    odd = {key.removeprefix("vgg_16/"): value for key, value in other.items()}
    odd["kernel_of_conv1"] = odd.pop("conv1_1/weights")
    np.savez(folder / "odd.npz", **odd)


def weights_of(net):
    """Random weights for a net of the zoo, as narrow as it is here."""
    assert net in specs.nets()
    graph = build(parse_net(fcn.render(net), net))
    shapes = infer(graph)
    rng = np.random.default_rng(1)
    found = {}
    for node, arrays in shapes.weights.items():
        layer = graph.nodes[node].layer
        found[layer.name] = [
            (rng.standard_normal(weight.shape) * 0.1).astype(np.float32) for weight in arrays
        ]
        if layer.type == "Deconvolution":  # upsampling connects no channels
            kernels = found[layer.name][0]
            kernels *= np.eye(*kernels.shape[:2], dtype=np.float32)[:, :, None, None]
    return {name: arrays for name, arrays in found.items() if arrays}
