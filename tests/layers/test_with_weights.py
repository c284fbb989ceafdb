"""Layers with weights, sizes of their own, data or losses: shapes, weights and refusals.

The oracle is real Caffe: the nets it ran (golden/layers), and what it refused (golden/malformed,
golden/fillers). Where these have no case, expectations are worked out by hand from the rules.
"""

import json
from fractions import Fraction
from math import prod

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from paths import GOLDEN

from fcnproto.errors import LayerError
from fcnproto.layers import fillers, layer_types
from fcnproto.layers.base import Context, InPlace
from fcnproto.layers.spatial import IDENTITY, Affine
from fcnproto.layers.spp import level_window
from fcnproto.proto.caffe_pb2 import TRAIN, LayerParameter, NetParameter

NETS = sorted((GOLDEN / "layers").glob("*.prototxt"))

TYPES = [
    "Convolution",
    "Deconvolution",
    "Im2col",
    "Pooling",
    "Crop",
    "InnerProduct",
    "Embed",
    "Scale",
    "Bias",
    "BatchNorm",
    "PReLU",
    "LSTM",
    "RNN",
    "LSTMUnit",
    "LRN",
    "SPP",
    "MVN",
    "Python",
    "Data",
    "DummyData",
    "HDF5Data",
    "HDF5Output",
    "ImageData",
    "MemoryData",
    "WindowData",
    "Input",
    "Parameter",
    "Filter",
    "Accuracy",
    "SoftmaxWithLoss",
    "SigmoidCrossEntropyLoss",
    "EuclideanLoss",
    "HingeLoss",
    "InfogainLoss",
    "MultinomialLogisticLoss",
    "ContrastiveLoss",
]


# Walking a net, without graph.py and shapes.py, which have tests of their own -----------------


def parse_layer(text, size=None):
    proto = text_format.Parse(text, LayerParameter())
    return layer_types()[proto.type](proto, Context(size=size))


def build(layer, bottoms):
    """A layer's top shapes and weights, with the checks that Caffe makes of any layer."""
    tops = len(layer.proto.top)
    if layer.auto_top:
        tops = max(tops, layer.tops.least)
    if len(bottoms) not in layer.bottoms or tops not in layer.tops:
        raise LayerError("the number of bottoms or tops is wrong")
    if layer.top_per_bottom and tops != len(bottoms):
        raise LayerError("there must be a top for each bottom")
    if layer.proto.loss_weight and len(layer.proto.loss_weight) != tops:
        raise LayerError("loss_weight must be given once for each top")
    shapes = tuple(layer.output_shapes(bottoms))
    weights = tuple(layer.weights(bottoms))
    for weight in weights:
        fillers.check(weight.filler, weight.shape)
    for shape in (*shapes, *(weight.shape for weight in weights)):
        if shape is not None and (min(shape, default=0) < 0 or prod(shape) >= 2**31):
            raise LayerError(f"a blob cannot be of shape {shape}")
    return shapes, weights


def walk(net):
    """Every blob's last shape, and the weights of each layer."""
    blobs, weights = {}, {}
    for proto in net.layer:
        layer = layer_types()[proto.type](proto)
        bottoms = [blobs[name] for name in proto.bottom]
        if layer.in_place is InPlace.REFUSED and proto.bottom[:1] == proto.top[:1]:
            raise LayerError("it cannot work in place")
        if None in bottoms:
            blobs.update(dict.fromkeys(proto.top))
            continue
        shapes, weights[proto.name] = build(layer, bottoms)
        blobs.update(zip(proto.top, shapes, strict=False))
    return blobs, weights


def parse_net(text):
    return text_format.Parse(text, NetParameter())


# What real Caffe did --------------------------------------------------------------------------


def test_all_golden_nets_are_there():
    assert len(NETS) == 144


@pytest.mark.parametrize("path", NETS, ids=lambda path: path.stem)
def test_shapes_and_weights_equal_caffes(path):
    arrays = np.load(path.with_suffix(".npz"))
    blobs, weights = walk(parse_net(path.read_text()))
    found = {
        f"param/{layer}/{index}": weight.shape
        for layer, list_ in weights.items()
        for index, weight in enumerate(list_)
    }
    found |= {f"out/{name}": shape for name, shape in blobs.items()}
    computed = {name: arrays[name].shape for name in arrays if name.startswith(("out/", "param/"))}
    assert {name: found[name] for name in computed} == computed
    assert {name for name in found if name.startswith("param/")} == {
        name for name in computed if name.startswith("param/")
    }


def of_a_layer(case):
    """Whether a single layer decides the case, not the text parser or the net around."""
    message = case["caffe_message"]
    return (
        case["kind"] == "net"
        and case["stage"] == "construct"
        and case["prototxt"].strip()
        and (
            not case["aborted"]
            or message is None
            or "_layer.cpp" in message
            or message.startswith(("blob.", "layer.hpp", "filler.hpp"))
        )
    )


MALFORMED = [
    case for case in json.loads((GOLDEN / "malformed.json").read_text()) if of_a_layer(case)
]


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case["case"])
def test_what_caffe_refuses_and_accepts(case):
    net = parse_net(case["prototxt"])
    if case["aborted"]:
        with pytest.raises(LayerError):
            walk(net)
        return
    blobs, _ = walk(net)
    for name, shape in case.get("blobs", {}).items():
        if name in blobs:  # the others are Caffe's own splits
            assert blobs[name] == tuple(shape)


FILLERS = json.loads((GOLDEN / "fillers.json").read_text())


@pytest.mark.parametrize("case", FILLERS["aborts"], ids=lambda case: case["case"])
def test_fillers_that_caffe_refuses(case):
    net = parse_net(case["prototxt"])
    if case["aborted"]:
        with pytest.raises(LayerError):
            walk(net)
    else:
        walk(net)


@pytest.mark.parametrize("case", FILLERS["random"], ids=lambda case: str(case["filler"]))
def test_fillers_that_caffe_runs(case):
    param = text_format.Parse(
        f"weight_filler {{ {case['filler']} }}", LayerParameter().convolution_param
    )
    fillers.check(param.weight_filler, tuple(case["shape"]))


def test_sparse_may_keep_every_weight_and_no_more():
    param = text_format.Parse(
        'weight_filler { type: "gaussian" sparse: 4 }', LayerParameter().convolution_param
    ).weight_filler
    fillers.check(param, (4, 3))
    with pytest.raises(LayerError, match="at most the first axis of 3×4, found 4"):
        fillers.check(param, (3, 4))


DEFAULTS = {
    "Convolution": "convolution_param { num_output: 2 kernel_size: 2 }",
    "Deconvolution": "convolution_param { num_output: 2 kernel_size: 2 }",
    "InnerProduct": "inner_product_param { num_output: 2 }",
    "Scale": "scale_param { bias_term: true }",
    "Bias": "",
    "PReLU": "",
    "BatchNorm": "",
    "Embed": "embed_param { input_dim: 4 num_output: 2 }",
    "Parameter": "parameter_param { shape { dim: 2 dim: 2 } }",
    "LSTM": "recurrent_param { num_output: 4 }",
}


@pytest.mark.parametrize("case", FILLERS["defaults"], ids=lambda case: case["type"])
def test_unset_fillers_fill_as_caffes(case):
    bottoms = {"Parameter": [], "LSTM": [(5, 2, 3), (5, 2)]}.get(case["type"], [(2, 3, 4, 4)])
    _, weights = build(
        parse_layer(f'type: "{case["type"]}" top: "t" {DEFAULTS[case["type"]]}'), bottoms
    )
    assert [list(weight.shape) for weight in weights] == [b["shape"] for b in case["blobs"]]
    assert all(weight.filler.type == "constant" for weight in weights)
    assert [weight.filler.value for weight in weights] == [b["value"] for b in case["blobs"]]


# What has no golden case ----------------------------------------------------------------------

IMAGE = (2, 3, 8, 8)

ACCEPTED = [
    # an empty batch passes where no bias is prepared for it
    ("Convolution", "convolution_param { num_output: 2 kernel_size: 3 }", [(0, 3, 8, 8)],
     [(0, 2, 6, 6)], [(2, 3, 3, 3), (2,)]),
    ("Convolution", "convolution_param { num_output: 2 kernel_size: 3 axis: -3 }", [IMAGE],
     [(2, 2, 6, 6)], [(2, 3, 3, 3), (2,)]),
    ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 bias_term: false }",
     [(5, 6, 10)], [(5, 4, 8)], [(4, 6, 3)]),
    ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 kernel_size: 1 "
     "kernel_size: 2 }", [(1, 2, 5, 5, 5)], [(1, 4, 3, 5, 4)], [(4, 2, 3, 1, 2), (4,)]),
    ("Convolution", "convolution_param { num_output: 4 }", [(5, 6)], [(5, 4)], [(4, 6), (4,)]),
    ("Deconvolution", "convolution_param { num_output: 2 kernel_size: 2 pad: 1 bias_term: false }",
     [(1, 3, 1, 1)], [(1, 2, 0, 0)], [(3, 2, 2, 2)]),
    ("Deconvolution", "convolution_param { num_output: 6 group: 3 kernel_h: 4 kernel_w: 2 "
     "stride_h: 2 stride_w: 1 }", [(1, 3, 5, 5)], [(1, 6, 12, 6)], [(3, 2, 4, 2), (6,)]),
    ("Im2col", "convolution_param { kernel_h: 3 kernel_w: 1 dilation: 2 }", [IMAGE],
     [(2, 9, 4, 8)], []),
    ("Im2col", "convolution_param { kernel_size: 2 axis: 2 }", [IMAGE], [(2, 3, 16, 7)], []),
    ("Im2col", "convolution_param { kernel_size: 9 }", [IMAGE], [(2, 243, 0, 0)], []),
    ("Pooling", "pooling_param { kernel_size: 3 stride: 2 ceil_mode: false }", [(1, 2, 8, 8)],
     [(1, 2, 3, 3)], []),
    ("Pooling", "pooling_param { kernel_size: 3 stride: 2 ceil_mode: true }", [(1, 2, 8, 8)],
     [(1, 2, 4, 4)], []),
    ("Crop", "crop_param { axis: -1 offset: 2 }", [IMAGE, (9, 9, 9, 6)], [(2, 3, 8, 6)], []),
    ("Crop", "crop_param { axis: 1 offset: 1 }", [(4, 5), (9, 2, 7, 7)], [(4, 2)], []),
    ("Crop", "", [IMAGE, (1, 1, 0, 8)], [(2, 3, 0, 8)], []),
    ("InnerProduct", "inner_product_param { num_output: 5 axis: -1 }", [IMAGE],
     [(2, 3, 8, 5)], [(5, 8), (5,)]),
    ("InnerProduct", "inner_product_param { num_output: 5 axis: 0 transpose: true "
     "bias_term: false }", [IMAGE], [(5,)], [(384, 5)]),
    ("InnerProduct", "inner_product_param { num_output: 5 bias_term: false }", [(0, 4)],
     [(0, 5)], [(5, 4)]),
    ("Embed", "embed_param { num_output: 5 input_dim: 9 bias_term: false }", [(0, 2)],
     [(0, 2, 5)], [(9, 5)]),
    ("Embed", "embed_param { num_output: 5 input_dim: 9 }", [()], [(5,)], [(9, 5), (5,)]),
    ("Scale", "scale_param { axis: 1 num_axes: -1 }", [IMAGE], [IMAGE], [(3, 8, 8)]),
    ("Scale", "scale_param { axis: -2 num_axes: 1 bias_term: true }", [IMAGE], [IMAGE],
     [(8,), (8,)]),
    ("Scale", "scale_param { axis: 9 }", [IMAGE, ()], [IMAGE], []),
    ("Scale", "scale_param { axis: 2 bias_term: true }", [IMAGE, (8, 8)], [IMAGE], [(8, 8)]),
    ("Scale", "scale_param { axis: 1 }", [(0, 3, 8, 8)], [(0, 3, 8, 8)], [(3,)]),
    ("Bias", "bias_param { axis: 0 num_axes: 0 }", [IMAGE], [IMAGE], [()]),
    ("Bias", "bias_param { axis: 0 num_axes: -1 }", [(4, 5)], [(4, 5)], [(4, 5)]),
    ("Bias", "bias_param { axis: 2 }", [IMAGE, (8,)], [IMAGE], []),
    ("Bias", "", [(0, 3)], [(0, 3)], [(3,)]),
    ("BatchNorm", "param { lr_mult: 0 } param { lr_mult: 0 }", [(4, 6)], [(4, 6)],
     [(6,), (6,), (1,)]),
    ("BatchNorm", "", [(1, 2, 3, 4, 5)], [(1, 2, 3, 4, 5)], [(2,), (2,), (1,)]),
    ("PReLU", "", [(0, 3, 2)], [(0, 3, 2)], [(3,)]),
    ("LRN", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 9 }", [(1, 2, 3, 4)],
     [(1, 2, 3, 4)], []),
    ("MVN", "", [(2, 3, 5)], [(2, 3, 5, 1)], []),
    ("MVN", "mvn_param { across_channels: true }", [(2, 3)], [(2, 3, 1, 1)], []),
    ("SPP", "spp_param { pyramid_height: 1 }", [(2, 3, 5, 7)], [(2, 3, 1, 1)], []),
    ("SPP", "spp_param { pyramid_height: 2 }", [(2, 3, 5, 7)], [(2, 15)], []),
    ("SPP", "spp_param { pyramid_height: 3 }", [(1, 1, 9, 9)], [(1, 21)], []),
    ("SPP", "spp_param { pyramid_height: 4 }", [(1, 1, 14, 15)], [(1, 85)], []),
    ("SPP", "spp_param { pyramid_height: 2 pool: STOCHASTIC }", [(1, 1, 4, 4)], [(1, 5)], []),
    ("LSTM", "recurrent_param { num_output: 5 }", [(4, 2, 3, 6), (4, 2), (2, 7, 2)],
     [(4, 2, 5)], [(20, 18), (20,), (20, 14), (20, 5)]),
    ("LSTM", "recurrent_param { num_output: 5 expose_hidden: true }",
     [(4, 2, 3), (4, 2), (1, 2, 5), (1, 2, 5)], [(4, 2, 5), (1, 2, 5), (1, 2, 5)],
     [(20, 3), (20,), (20, 5)]),
    ("RNN", "recurrent_param { num_output: 5 }", [(4, 2, 3), (4, 2), (2, 7)], [(4, 2, 5)],
     [(5, 3), (5,), (5, 7), (5, 5), (5, 5), (5,)]),
    ("RNN", "recurrent_param { num_output: 5 expose_hidden: true }",
     [(4, 2, 3), (4, 2), (2, 7), (1, 2, 5)], [(4, 2, 5), (1, 2, 5)],
     [(5, 3), (5,), (5, 7), (5, 5), (5, 5), (5,)]),
    ("LSTMUnit", "", [(1, 2, 5), (1, 2, 20), (1, 2)], [(1, 2, 5), (1, 2, 5)], []),
    ("Filter", "", [IMAGE, (2, 9), (2, 1, 1)], [IMAGE, (2, 9)], []),
    ("Accuracy", "", [(2, 5, 4, 3), (24,)], [()], []),
    ("Accuracy", "accuracy_param { axis: -1 top_k: 5 }", [(2, 5), (2,)], [()], []),
    ("SoftmaxWithLoss", "softmax_param { axis: 3 }", [(2, 4, 5, 6), (2, 20)], [()], []),
    ("SigmoidCrossEntropyLoss", "", [(2, 3, 4), (2, 12)], [()], []),
    ("EuclideanLoss", "", [(4,), (4, 1, 1)], [()], []),
    ("HingeLoss", "", [(4, 7), (4, 3)], [()], []),  # Caffe compares the batch alone
    ("InfogainLoss", "", [(2, 5, 3), (2, 3), (25,)], [()], []),
    ("InfogainLoss", 'infogain_loss_param { source: "h" axis: 2 }', [(2, 5, 3), (2, 5)], [()], []),
    ("MultinomialLogisticLoss", "", [(4, 7), (4,)], [()], []),
    ("ContrastiveLoss", "", [(4, 7), (4, 7, 1), (4,)], [()], []),
    ("Parameter", "", [], [()], [()]),
    ("Input", "input_param { shape { dim: 2 } }", [], [(2,)], []),
    ("DummyData", "dummy_data_param { num: 2 channels: 3 height: 4 width: 5 }", [],
     [(2, 3, 4, 5)], []),
    ("DummyData", 'dummy_data_param { shape { dim: 2 } data_filler { type: "xavier" } }', [],
     [(2,)], []),
    ("DummyData", 'dummy_data_param { shape { dim: 2 dim: 0 } data_filler { type: "uniform" } }',
     [], [(2, 0)], []),
    ("MemoryData", "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }", [],
     [(2, 3, 4, 5), (2,)], []),
    ("Data", 'data_param { source: "db" batch_size: 4 }', [], [None], []),
    ("ImageData", 'image_data_param { source: "l" }', [], [None, (1,)], []),
    ("ImageData", 'image_data_param { source: "l" batch_size: 4 new_height: 5 new_width: 6 }', [],
     [(4, 3, 5, 6), (4,)], []),
    ("ImageData", 'image_data_param { source: "l" is_color: false } '
     "transform_param { crop_size: 7 }", [], [(1, 1, 7, 7), (1,)], []),
    ("ImageData", 'image_data_param { source: "l" new_height: 5 new_width: 6 } '
     "transform_param { crop_h: 3 crop_w: 2 }", [], [None, (1,)], []),
    ("WindowData", 'window_data_param { source: "l" batch_size: 4 } '
     "transform_param { crop_size: 7 mean_value: 1 }", [], [(4, 3, 7, 7), (4,)], []),
    ("HDF5Data", 'hdf5_data_param { source: "l" batch_size: 4 }', [], [None], []),
    ("HDF5Output", 'hdf5_output_param { file_name: "f" }', [IMAGE, (2,)], [], []),
    ("Python", 'python_param { module: "m" layer: "L" param_str: "any: text" }', [IMAGE],
     [None], []),
]  # fmt: skip


TOPS = {"MemoryData": 2, "ImageData": 2, "WindowData": 2, "LSTMUnit": 2, "HDF5Output": 0}


def layer_of(kind, settings, tops):
    names = " ".join(f'top: "t{index}"' for index in range(tops))
    return parse_layer(f'type: "{kind}" {names} {settings}')


@pytest.mark.parametrize(("kind", "settings", "bottoms", "tops", "weights"), ACCEPTED)
def test_accepted(kind, settings, bottoms, tops, weights):
    shapes, arrays = build(layer_of(kind, settings, len(tops)), bottoms)
    assert list(shapes) == tops
    assert [weight.shape for weight in arrays] == weights


REFUSED = [
    ("Convolution", "convolution_param { num_output: 2 kernel_size: 3 }", [(2, 0, 8, 8)],
     "the input must have channels"),
    ("Convolution", "convolution_param { num_output: 2 kernel_size: 3 group: 2 }", [IMAGE],
     "group 2 does not divide the 3 input channels"),
    ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 group: 3 }", [IMAGE],
     "group 3 does not divide num_output 4"),
    ("Convolution", "convolution_param { num_output: 2 kernel_size: 9 }", [IMAGE],
     "kernel 9, stride 1, pad 0 does not fit an input of size 8"),
    ("Convolution", "convolution_param { num_output: 2 kernel_size: 3 axis: -5 }", [IMAGE],
     "axis -5 is out of range for a blob of shape 2×3×8×8"),
    ("Convolution", "convolution_param { num_output: 4294967295 kernel_size: 3 }", [IMAGE],
     "a blob cannot be of shape"),
    ("Deconvolution", "convolution_param { num_output: 2 kernel_size: 2 pad: 1 }", [(1, 3, 1, 1)],
     "kernel 2, stride 1, pad 1 does not fit an input of size 1"),
    ("Im2col", "convolution_param { kernel_size: 3 axis: 3 }", [IMAGE], "must be a spatial axis"),
    ("Im2col", "convolution_param { kernel_size: 10 }", [IMAGE], "does not fit"),
    ("Im2col", "", [IMAGE], "kernel_size must be given once"),
    ("Pooling", "pooling_param { kernel_size: 10 }", [IMAGE], "does not fit an input of size 8"),
    ("Pooling", "pooling_param { kernel_size: 2 }", [(2, 3, 8, 8, 8)],
     "must have 4 axes, found 2×3×8×8×8"),
    ("Crop", "crop_param { offset: 4 }", [IMAGE, (1, 1, 5, 4)],
     "on axis 2: offset 4 and size 5 end past 8"),
    ("Crop", "crop_param { axis: 1 offset: 0 offset: 1 offset: 2 }", [IMAGE, (1, 3, 7, 7)],
     "on axis 3: offset 2 and size 7 end past 8"),
    ("Crop", "crop_param { axis: 3 offset: 1 offset: 1 }", [IMAGE, IMAGE],
     "each of the 1 axes from axis 3 on; found 2"),
    ("Crop", "crop_param { axis: 3 }", [IMAGE, (8, 8, 8)], "at least the first's 4 axes"),
    ("Crop", "", [(8, 8), IMAGE], "axis 2 is out of range"),
    ("InnerProduct", "inner_product_param { num_output: 5 }", [(0, 4)],
     "a bias cannot be added to an empty batch"),
    ("InnerProduct", "inner_product_param { num_output: 5 }", [(4, 0)],
     "cannot fill an empty array, 5×0"),
    ("InnerProduct", "", [IMAGE], "num_output must be positive"),
    ("InnerProduct", "inner_product_param { num_output: 5 }", [()], "axis 1 is out of range"),
    ("Embed", "embed_param { input_dim: 9 }", [(2,)], "num_output must be positive"),
    ("Embed", "embed_param { num_output: 9 }", [(2,)], "input_dim must be positive"),
    ("Embed", "embed_param { num_output: 9 input_dim: 2 }", [(0,)], "bias cannot be added"),
    ("Scale", "scale_param { num_axes: -2 }", [IMAGE], "at least 0, or -1 for all, found -2"),
    ("Scale", "scale_param { num_axes: 4 }", [IMAGE], "num_axes 4 from axis 1 on goes past the 4"),
    ("Scale", "scale_param { axis: 4 num_axes: 0 }", [IMAGE], "axis 4 is out of range"),
    ("Scale", "scale_param { axis: 9 bias_term: true }", [IMAGE, ()], "axis 9 is out of range"),
    ("Scale", "scale_param { axis: 3 }", [IMAGE, (8, 1)], "from axis 3 on, found 8×1"),
    ("Scale", "scale_param { axis: 1 }", [(0, 3, 0)], "the axes around the operand are empty"),
    ("Scale", "scale_param { axis: 1 bias_term: true }", [(2, 3, 0)], "axes around the operand"),
    ("Scale", "", [(2, 0, 4)], "cannot fill an empty array"),
    ("Scale", "", [()], "axis 1 is out of range"),
    ("Scale", 'scale_param { num_axes: 0 filler { type: "xavier" } }', [IMAGE],
     "filler xavier needs at least 1 axes"),
    ("Bias", "", [(2, 3, 0)], "the axes after the operand are empty in 2×3×0"),
    ("Bias", "", [IMAGE, (4,)], "the axes of 2×3×8×8 from axis 1 on, found 4"),
    ("Bias", "bias_param { axis: 2 num_axes: 3 }", [IMAGE], "goes past the 4 axes"),
    ("BatchNorm", "", [(5,)], "at least 2 axes, found 5"),
    ("BatchNorm", "", [(0, 3)], "must not be empty"),
    ("BatchNorm", "", [(2, 3, 0)], "must not be empty"),
    ("BatchNorm", "param { lr_mult: 0 } param { lr_mult: 0 } param { }", [IMAGE],
     "lr_mult of param 2 must be 0, found 1"),
    ("PReLU", "", [(5,)], "at least 2 axes"),
    ("PReLU", "", [(5, 3, 0)], "items are empty"),
    ("PReLU", "", [(1, 2, 3, 4, 5)], "at most 4 axes"),
    ("LRN", "lrn_param { local_size: 0 }", [IMAGE], "local_size must be odd, found 0"),
    ("LRN", "lrn_param { local_size: 4294967295 }", [IMAGE], "local_size must be odd"),
    ("LRN", "", [(2, 3, 8)], "must have 4 axes"),
    ("MVN", "", [(1, 2, 3, 4, 5)], "at most 4 axes"),
    ("MVN", "", [(2, 3, 0, 4)], "nothing to average in 2×3×0×4"),
    ("SPP", "", [IMAGE], "pyramid_height must be positive"),
    ("SPP", "spp_param { pyramid_height: 2 }", [(2, 3, 8)], "must have 4 axes"),
    ("SPP", "spp_param { pyramid_height: 2 }", [(2, 3, 0, 8)], "the input is empty"),
    ("SPP", "spp_param { pyramid_height: 4 }", [(2, 3, 8, 9)],
     "size 9 cannot be pooled into 8 bins: windows of 2 would need a pad of 4"),
    ("SPP", "spp_param { pyramid_height: 2 pool: STOCHASTIC }", [(1, 1, 5, 4)],
     "stochastic pooling cannot be padded"),
    ("SPP", "spp_param { pyramid_height: 4000000000 }", [IMAGE],
     "size 8 cannot be pooled into 16 bins"),
    ("LSTM", "", [(4, 2, 3), (4, 2)], "num_output must be positive"),
    ("LSTM", "recurrent_param { num_output: 5 }", [(4, 2), (4, 2)], "at least one more axis"),
    ("LSTM", "recurrent_param { num_output: 5 }", [(4, 2, 3), (2, 4)],
     "continuation marks must be 4×2, found 2×4"),
    ("LSTM", "recurrent_param { num_output: 5 }", [(4, 2, 3), (4, 2), (3, 7)],
     "static input must be 2 × its own axes, found 3×7"),
    ("LSTM", "recurrent_param { num_output: 5 }", [(4, 2, 3), (4, 2), (2,)], "static input"),
    ("LSTM", "recurrent_param { num_output: 5 }", [(0, 2, 3), (0, 2)], "the sequence is empty"),
    ("RNN", "recurrent_param { num_output: 5 }", [(4, 0, 3), (4, 0)], "the sequence is empty"),
    ("RNN", "recurrent_param { num_output: 5 }", [(4, 2, 0), (4, 2)], "an empty array"),
    ("LSTMUnit", "", [(2, 2, 5), (1, 2, 20), (1, 2)], "the cell must be 1 × N × D"),
    ("LSTMUnit", "", [(1, 2, 5), (1, 2, 5), (1, 2)], "gates' inputs must be 1×2×20"),
    ("LSTMUnit", "", [(1, 2, 5), (1, 2, 20), (1, 2, 1)], "continuation marks must be 1×2"),
    ("Filter", "", [IMAGE, (2, 3)], "N × 1 × 1 …, found 2×3"),
    ("Filter", "", [IMAGE, (3,)], "the selector's 3 items, found 2×3×8×8"),
    ("Filter", "", [(0, 3), (0,)], "no items"),
    ("Filter", "", [IMAGE, IMAGE, (2,)], "a top for each bottom but the last: 2, found 1"),
    ("Accuracy", "", [IMAGE, (2, 8, 7)], "needs 128, found 112"),
    ("Accuracy", "accuracy_param { top_k: 4 }", [IMAGE, (2, 8, 8)],
     "number of classes, 3, found 4"),
    ("Accuracy", "accuracy_param { axis: 4 }", [IMAGE, (128,)], "axis 4 is out of range"),
    ("Accuracy", "", [(0, 3), (0,)], "no labels"),
    ("SoftmaxWithLoss", "", [IMAGE, (2, 63)], "needs 128, found 126"),
    ("SoftmaxWithLoss", "", [IMAGE, ()], "one first axis, the batch"),
    ("SoftmaxWithLoss", "", [(2, 0), (2,)], "no classes on axis 1"),
    ("SigmoidCrossEntropyLoss", "", [(2, 3), (2, 4)], "as many targets as scores"),
    ("EuclideanLoss", "", [(), ()], "one first axis, the batch"),
    ("EuclideanLoss", "", [(2, 3), (3, 2)], "one first axis, the batch"),
    ("EuclideanLoss", "", [(2, 3), (2, 4)], "items of one size, found 2×3 and 2×4"),
    ("HingeLoss", "", [(2, 3), (3,)], "one first axis, the batch"),
    ("InfogainLoss", "", [(2, 5), (2,)], "the infogain matrix is missing"),
    ("InfogainLoss", "", [(2, 5), (2,), (5, 4)], "must be 5×5, found 5×4"),
    ("InfogainLoss", "loss_param { normalize: true }", [(2, 5), (2,), (5, 5)],
     "use normalization"),
    ("InfogainLoss", "", [(2, 5), (2, 2), (5, 5)], "needs 2, found 4"),
    ("MultinomialLogisticLoss", "", [(2, 5), (2, 2)], "one label for each item, found 2×2"),
    ("ContrastiveLoss", "", [(2, 5), (2, 4), (2,)], "of one length"),
    ("ContrastiveLoss", "", [(2, 5, 2), (2, 5), (2,)], "must be N × C, found 2×5×2"),
    ("ContrastiveLoss", "", [(2, 5), (2, 5), (2, 2)], "one label for each pair"),
    ("ContrastiveLoss", "", [(2, 5), (3, 5), (2,)], "one first axis, the batch"),
    ("Input", "input_param { shape { dim: 1 } shape { dim: 2 } }", [], "each of 1 tops"),
    ("DummyData", "", [], "shape must be given once, or once for each of 1 tops, found 0"),
    ("DummyData", "dummy_data_param { num: 1 }", [], "channels must be given once"),
    ("DummyData", "dummy_data_param { num: 1 shape { dim: 1 } }", [], "give either shape or num"),
    ("DummyData", "dummy_data_param { shape { dim: 0 } }", [], "cannot fill an empty array"),
    ("DummyData", 'dummy_data_param { shape { dim: 1 } data_filler { type: "x" } }', [],
     "unknown filler 'x'"),
    ("DummyData", "dummy_data_param { shape { dim: 1 } data_filler {} data_filler {} }", [],
     "data_filler must be given once"),
    ("MemoryData", "memory_data_param { batch_size: 2 channels: 3 height: 4 }", [],
     "width must be positive"),
    ("MemoryData", "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 4 } "
     'transform_param { mean_file: "m" mean_value: 3 }', [], "mean_file or mean_value"),
    ("Data", "data_param { batch_size: 4 }", [], "source must name a file"),
    ("Data", 'data_param { source: "db" }', [], "batch_size must be positive"),
    ("ImageData", 'image_data_param { source: "l" new_height: 4 }', [],
     "give both new_height and new_width, or neither, found 4 and 0"),
    ("ImageData", 'image_data_param { source: "l" batch_size: 0 }', [], "batch_size"),
    ("ImageData", 'image_data_param { source: "l" new_height: 4 new_width: 9 } '
     "transform_param { crop_size: 5 }", [], "crop_size 5 does not fit images of 4×9"),
    ("WindowData", 'window_data_param { source: "l" batch_size: 4 }', [],
     "crop_size must be positive"),
    ("WindowData", 'window_data_param { source: "l" batch_size: 4 } '
     "transform_param { crop_size: 3 mean_value: 1 mean_value: 2 }", [], "one for each of 3"),
    ("HDF5Data", 'hdf5_data_param { source: "l" } transform_param { }', [],
     "remove transform_param"),
    ("HDF5Output", "", [IMAGE, (2,)], "file_name must name a file"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "settings", "bottoms", "message"), REFUSED)
def test_refused(kind, settings, bottoms, message):
    with pytest.raises(LayerError, match=message):
        build(layer_of(kind, settings, TOPS.get(kind, 1)), bottoms)


def test_every_type_has_a_case():
    golden = {layer.type for path in NETS for layer in parse_net(path.read_text()).layer}
    by_hand = {case[0] for case in ACCEPTED}
    assert set(TYPES) - golden - by_hand == set()
    assert set(TYPES) <= set(layer_types())


@given(st.integers(1, 300), st.integers(0, 6))
def test_spp_has_as_many_windows_as_bins(size, level):
    window = level_window(2**level, size)
    if window.pad < window.kernel:
        assert window.pool(size, ceil=True, clip=window.pad > 0) == 2**level


# Numbers of bottoms and tops that depend on settings ------------------------------------------


@pytest.mark.parametrize(
    ("text", "bottoms", "tops"),
    [
        ('type: "Pooling"', "1", "1 to 2"),
        ('type: "Pooling" pooling_param { pool: AVE }', "1", "1"),
        ('type: "LSTM"', "2 to 3", "1"),
        ('type: "LSTM" recurrent_param { expose_hidden: true }', "4 to 5", "3"),
        ('type: "RNN" recurrent_param { expose_hidden: true }', "3 to 4", "2"),
        ('type: "InfogainLoss"', "2 to 3", "1 to 2"),
        ('type: "Python"', "at least 0", "at least 0"),
    ],
)
def test_arity(text, bottoms, tops):
    layer = parse_layer(text)
    assert (str(layer.bottoms), str(layer.tops)) == (bottoms, tops)


def test_pooling_and_accuracy_give_a_second_top_when_asked():
    pool = layer_of("Pooling", "pooling_param { kernel_size: 2 }", 2)
    assert pool.output_shapes([IMAGE]) == [(2, 3, 7, 7)] * 2
    assert layer_of("Accuracy", "", 2).output_shapes([IMAGE, (128,)]) == [(), (3,)]


def test_infogain_gives_probabilities_if_both_tops_are_weighted():
    bottoms = [(2, 5), (2,), (5, 5)]
    weighted = layer_of("InfogainLoss", "loss_weight: 1 loss_weight: 0", 2)
    assert weighted.output_shapes(bottoms) == [(), (2, 5)]
    with pytest.raises(LayerError, match="loss_weight must be given"):
        layer_of("InfogainLoss", "", 2).output_shapes(bottoms)


@pytest.mark.parametrize("weights", ["", "loss_weight: 1", "loss_weight: 1 loss_weight: 0"])
def test_softmax_loss_never_has_a_second_top(weights):
    with pytest.raises(LayerError):
        build(layer_of("SoftmaxWithLoss", weights, 2), [IMAGE, (2, 64)])


def test_input_and_dummy_data_shape_each_top():
    two = layer_of("Input", "input_param { shape { dim: 1 } shape { dim: 2 } }", 2)
    assert two.output_shapes([]) == [(1,), (2,)]
    older = "dummy_data_param { num: 1 num: 2 channels: 3 height: 1 width: 1 }"
    assert layer_of("DummyData", older, 2).output_shapes([]) == [(1, 3, 1, 1), (2, 3, 1, 1)]


# Sizes that the user chooses, and Python layers -----------------------------------------------


@pytest.mark.parametrize(
    ("shape", "sized"),
    [((1, 3, 500, 500), (1, 3, 40, 60)), ((1, 3), (1, 3)), ((2, 3, 4, 5, 6), (2, 3, 4, 5, 6))],
)
def test_a_size_replaces_height_and_width_of_inputs(shape, sized):
    dims = " ".join(f"dim: {size}" for size in shape)
    layer = parse_layer(f'type: "Input" top: "d" input_param {{ shape {{ {dims} }} }}', (40, 60))
    assert layer.output_shapes([]) == [sized]


def python_layer(name, param_str, tops, size=None):
    names = " ".join(f'top: "t{index}"' for index in range(tops))
    settings = f'layer: "{name}" param_str: {json.dumps(param_str)}'
    return parse_layer(f'type: "Python" {names} python_param {{ {settings} }}', size)


@pytest.mark.parametrize(
    ("name", "param_str", "channels"),
    [
        ("VOCSegDataLayer", "{'voc_dir': 'x', 'mean': (1, 2, 3)}", [3, 1]),
        ("SBDDSegDataLayer", "{}", [3, 1]),
        ("PASCALContextSegDataLayer", "{}", [3, 1]),
        ("SIFTFlowSegDataLayer", "{}", [3, 1, 1]),
        ("NYUDSegDataLayer", "{'tops': ['color', 'label']}", [3, 1]),
        ("NYUDSegDataLayer", "{'tops': ['color', 'hha', 'depth', 'label']}", [3, 3, 1, 1]),
    ],
)
def test_published_data_layers(name, param_str, channels):
    tops = len(channels)
    shapes = python_layer(name, param_str, tops).output_shapes([])
    assert shapes == [(1, count, 500, 500) for count in channels]
    shapes = python_layer(name, param_str, tops, (31, 47)).output_shapes([])
    assert shapes == [(1, count, 31, 47) for count in channels]


@pytest.mark.parametrize(
    ("name", "param_str", "tops", "message"),
    [
        ("VOCSegDataLayer", "{'voc_dir': ", 2, "must be the literal of a dict"),
        ("VOCSegDataLayer", "", 2, "must be the literal of a dict"),
        ("VOCSegDataLayer", "['a']", 2, "must be the literal of a dict"),
        ("VOCSegDataLayer", "__import__('os').getcwd()", 2, "must be the literal of a dict"),
        ("VOCSegDataLayer", "{" * 100000, 2, "must be the literal of a dict"),
        ("VOCSegDataLayer", "{}", 3, r"has 2 tops \(data, label\), found 3"),
        ("NYUDSegDataLayer", "{}", 2, "tops must be a list of color, hha, depth, label"),
        ("NYUDSegDataLayer", "{'tops': ['colour', 'label']}", 2, "found .'colour', 'label'."),
        ("NYUDSegDataLayer", "{'tops': 3}", 2, "tops must be a list"),
        ("NYUDSegDataLayer", "{'tops': [['color']]}", 1, "tops must be a list"),
        ("NYUDSegDataLayer", "{'tops': ['color', 'label']}", 1, "has 2 tops"),
    ],
)
def test_published_data_layers_refused(name, param_str, tops, message):
    with pytest.raises(LayerError, match=message):
        python_layer(name, param_str, tops).output_shapes([])


def test_published_data_layers_take_no_bottom():
    with pytest.raises(LayerError, match="takes no bottoms, found 1"):
        python_layer("VOCSegDataLayer", "{}", 2).output_shapes([IMAGE])


# Coordinates, oddities and the rest -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["Scale", "Bias", "BatchNorm", "PReLU", "LRN", "MVN"])
def test_pointwise_layers_keep_coordinates(kind):
    assert parse_layer(f'type: "{kind}"').coord_map() == IDENTITY


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [
        ('type: "Convolution" convolution_param { kernel_size: 3 pad: 100 }', (1, -99), (1, -99)),
        ('type: "Convolution" convolution_param { kernel_size: 3 dilation: 2 stride: 2 }', (2, 2),
         (2, 2)),
        ('type: "Convolution" convolution_param { kernel_size: 3 kernel_size: 2 axis: -3 }', (1, 1),
         (1, Fraction(1, 2))),
        ('type: "Im2col" convolution_param { kernel_size: 5 stride: 2 pad: 1 }', (2, 1), (2, 1)),
        ('type: "Pooling" pooling_param { kernel_size: 2 stride: 2 }', (2, Fraction(1, 2)),
         (2, Fraction(1, 2))),
        ('type: "Deconvolution" convolution_param { kernel_size: 4 stride: 2 }',
         (Fraction(1, 2), Fraction(-3, 4)), (Fraction(1, 2), Fraction(-3, 4))),
        ('type: "Crop" crop_param { offset: 19 }', (1, 19), (1, 19)),
        ('type: "Crop" crop_param { offset: 19 offset: 5 }', (1, 19), (1, 5)),
        ('type: "Crop" crop_param { axis: 1 offset: 1 offset: 2 offset: 3 }', (1, 2), (1, 3)),
        ('type: "Crop" crop_param { axis: 3 offset: 4 }', (1, 0), (1, 4)),
        ('type: "Crop"', (1, 0), (1, 0)),
    ],
)  # fmt: skip
def test_coordinates(text, rows, columns):
    found = parse_layer(text).coord_map()
    assert found.rows == Affine(*map(Fraction, rows))
    assert found.columns == Affine(*map(Fraction, columns))


@pytest.mark.parametrize(
    "text",
    [
        'type: "InnerProduct" inner_product_param { num_output: 2 }',
        'type: "Python"',
        'type: "SoftmaxWithLoss"',
        'type: "SPP"',
        'type: "Pooling" pooling_param { global_pooling: true }',
        'type: "Convolution" convolution_param { kernel_size: 3 axis: 2 }',
        'type: "Crop" crop_param { offset: 1 offset: 2 offset: 3 }',
    ],
)
def test_no_coordinates(text):
    with pytest.raises(LayerError):
        parse_layer(text).coord_map()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('type: "Convolution" convolution_param { dilation: 0 }', "dilation 0"),
        ('type: "Accuracy" accuracy_param { top_k: 0 }', "always 0"),
        ('type: "Input" top: "t"', "no shape"),
        ('type: "DummyData" top: "t" dummy_data_param { shape { dim: 1 } data_filler '
         '{ type: "gaussian" std: 0 } }', "stops at its first pass"),
    ],
)  # fmt: skip
def test_oddities(text, message):
    (oddity,) = parse_layer(text).oddities()
    assert message in oddity


@pytest.mark.parametrize("kind", TYPES)
def test_sound_layers_have_no_oddities(kind):
    settings = "dummy_data_param { shape { dim: 1 } } input_param { shape { dim: 1 } }"
    assert list(parse_layer(f'type: "{kind}" top: "t" {settings}').oddities()) == []


@pytest.mark.parametrize(
    "kind", ["Convolution", "Deconvolution", "Pooling", "InnerProduct", "Crop", "LRN"]
)
def test_overwriting_ones_own_bottom_is_nonsense(kind):
    assert parse_layer(f'type: "{kind}"').in_place is InPlace.NONSENSE


@pytest.mark.parametrize("kind", ["Scale", "Bias", "BatchNorm", "PReLU", "MVN"])
def test_pointwise_layers_work_in_place(kind):
    assert parse_layer(f'type: "{kind}"').in_place is InPlace.WORKS


def test_phase_is_the_layers_own_if_it_has_one():
    proto = text_format.Parse('type: "BatchNorm" phase: TEST', LayerParameter())
    layer = layer_types()["BatchNorm"](proto, Context(phase=TRAIN))
    assert layer.phase != TRAIN
