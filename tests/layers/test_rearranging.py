"""The layers that rearrange, combine or map values one by one, and those of forks.

What real Caffe computed is in golden/layers, golden/forks and golden/malformed.json. The other
refusals were read from the CHECKs of BVLC Caffe 1.0 and of the forks.
"""

import json
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from paths import GOLDEN

from fcnproto.errors import LayerError
from fcnproto.layers import layer_types
from fcnproto.layers.base import Context, InPlace
from fcnproto.layers.bn import Form
from fcnproto.layers.spatial import IDENTITY
from fcnproto.proto.caffe_pb2 import TEST, TRAIN, LayerParameter, NetParameter

BVLC = [
    "AbsVal", "ArgMax", "BNLL", "BatchReindex", "Clip", "Concat", "Dropout", "ELU", "Eltwise",
    "Exp", "Flatten", "Log", "Power", "ReLU", "Reduction", "Reshape", "Sigmoid", "Silence", "Slice",
    "Softmax", "Split", "Swish", "TanH", "Threshold", "Tile",
]  # fmt: skip
FORKS = [
    "Axpy", "BN", "ConvolutionDepthwise", "DepthwiseConvolution", "Interp", "Normalize", "Padding",
    "Permute", "ReLU6", "ShuffleChannel", "Upsample",
]  # fmt: skip
KNOWN = [
    "AdaptiveBiasChannel", "AnnotatedData", "BiasChannel", "BoxAnnotatorOHEM", "DenseCRF",
    "DenseImageData", "DetectionEvaluate", "DetectionOutput", "DomainTransform", "ImageSegData",
    "MatRead", "MatWrite", "MultiBoxLoss", "PSROIPooling", "PriorBox", "ROIPooling",
    "SmoothL1Loss", "SmoothL1LossOHEM", "SoftmaxWithLossOHEM", "UniqueLabel", "VideoData",
]  # fmt: skip


def layer(kind, settings="", tops=1, bottoms=1, phase=TEST, rest=""):
    """A layer of this type, with these settings and so many bottoms and tops."""
    field = layer_types()[kind].settings
    block = f"{field} {{ {settings} }}" if settings else ""
    proto = text_format.Parse(f'type: "{kind}" {block} {rest}', LayerParameter())
    proto.bottom.extend(f"bottom{i}" for i in range(bottoms - len(proto.bottom)))
    proto.top.extend(f"top{i}" for i in range(tops - len(proto.top)))
    return layer_types()[proto.type](proto, Context(phase))


def shapes(kind, settings, *bottoms, tops=1):
    """The shapes of the layer's tops."""
    built = layer(kind, settings, tops, len(bottoms))
    assert len(bottoms) in built.bottoms
    assert tops in built.tops
    return [tuple(shape) for shape in built.output_shapes(bottoms)]


def walk(net, blobs, weights=None):
    """Yield each layer with its bottoms' shapes; `blobs` gets the shapes of the tops."""
    for proto in net.layer:
        if proto.type == "Input":
            for top, shape in zip(proto.top, proto.input_param.shape, strict=False):
                blobs[top] = tuple(shape.dim)
            continue
        for _ in (weights or {}).get(proto.name, ()):
            proto.blobs.add()
        built = layer_types()[proto.type](proto)
        bottoms = [blobs[bottom] for bottom in proto.bottom]
        assert len(bottoms) in built.bottoms
        assert len(proto.top) in built.tops
        yield built, bottoms
        tops = built.output_shapes(bottoms)
        assert len(tops) == len(proto.top)
        blobs.update(zip(proto.top, map(tuple, tops), strict=True))


def cases(folder, types):
    """The nets in a folder of golden/ that have a layer of one of the types."""
    return [
        pytest.param(path, id=path.stem)
        for path in sorted((GOLDEN / folder).glob("*.prototxt"))
        if any(f'type: "{kind}"' in path.read_text() for kind in types)
    ]


@pytest.mark.parametrize("path", cases("layers", BVLC) + cases("forks", FORKS + BVLC))
def test_shapes_and_weights_are_those_of_caffe(path):
    net = text_format.Parse(path.read_text(), NetParameter())
    with np.load(path.with_suffix(".npz")) as arrays:
        found = {key: arrays[key].shape for key in arrays.files}
    blobs = {key[3:]: shape for key, shape in found.items() if key.startswith("in/")}
    weights = {}
    for key, shape in found.items():
        if key.startswith("param/"):
            weights.setdefault(key.split("/")[1], []).append(shape)
    for built, bottoms in walk(net, blobs, weights):
        computed = [weight.shape for weight in built.weights(bottoms)]
        assert computed == weights.get(built.name, []), built.name
    for key, shape in found.items():
        if key.startswith("out/"):
            assert blobs[key[4:]] == shape, key


MALFORMED = [
    pytest.param(case, id=case["case"])
    for case in json.loads((GOLDEN / "malformed.json").read_text())
    if case["case"].startswith(
        ("eltwise", "concat", "slice", "reshape", "dropout", "tile", "argmax", "count_concat")
    )
]


@pytest.mark.parametrize("case", MALFORMED)
def test_a_net_is_refused_where_caffe_refuses_it(case):
    net = text_format.Parse(case["prototxt"], NetParameter())
    blobs = {}
    if case["aborted"]:
        with pytest.raises(LayerError):
            list(walk(net, blobs))
    else:
        list(walk(net, blobs))
        assert blobs == {name: tuple(shape) for name, shape in case["blobs"].items()}


IMAGE = (2, 3, 4, 5)

REFUSED = [
    # type, settings, bottoms, number of tops, what the message names
    ("ArgMax", "top_k: 0", [IMAGE], 1, "top_k must be positive"),
    ("ArgMax", "top_k: 61", [IMAGE], 1, "61.* 60 values"),
    ("ArgMax", "top_k: 4 axis: 1", [IMAGE], 1, "4 .* 3 values of axis 1"),
    ("ArgMax", "axis: 4", [IMAGE], 1, "axis 4 .* 2×3×4×5"),
    ("ArgMax", "axis: -5", [IMAGE], 1, "axis -5"),
    ("ArgMax", "", [(2, 0, 4, 5)], 1, "0 values"),
    ("ArgMax", "", [()], 1, "at least 1 axis"),
    ("BatchReindex", "", [IMAGE, (2, 1)], 1, "1 axis, found 2×1"),
    ("Concat", "axis: 1 concat_dim: 1", [IMAGE, IMAGE], 1, "not both"),
    ("Concat", "axis: -5", [IMAGE, IMAGE], 1, "axis -5"),
    ("Concat", "concat_dim: 4294967295", [IMAGE], 1, "axis 4294967295"),
    ("Concat", "", [IMAGE, (2, 3, 4)], 1, "2×3×4×5 and 2×3×4"),
    ("Concat", "", [IMAGE, IMAGE, (1, 3, 4, 5)], 1, "2×3×4×5 and 1×3×4×5"),
    ("Concat", "", [(2, 0, 4, 5)], 1, "empty: 2×0×4×5"),
    ("Eltwise", "coeff: 1", [IMAGE, IMAGE], 1, "2 bottoms, found 1"),
    ("Eltwise", "operation: PROD coeff: 1 coeff: 1", [IMAGE] * 2, 1, "product"),
    ("Eltwise", "", [IMAGE, IMAGE, (2, 3, 4, 1)], 1, "2×3×4×5 and 2×3×4×1"),
    ("Exp", "base: 0", [IMAGE], 1, "found 0"),
    ("Exp", "base: -2", [IMAGE], 1, "found -2"),
    ("Exp", "base: inf", [IMAGE], 1, "found inf"),
    ("Exp", "base: nan", [IMAGE], 1, "found nan"),
    ("Log", "base: 0", [IMAGE], 1, "found 0"),
    ("Log", "base: 1", [IMAGE], 1, "not 1"),
    ("Log", "base: inf", [IMAGE], 1, "found inf"),
    ("Flatten", "axis: 3 end_axis: 1", [IMAGE], 1, "axis 3 .* end_axis 1"),
    ("Flatten", "axis: 4", [IMAGE], 1, "axis 4"),
    ("Flatten", "end_axis: -5", [IMAGE], 1, "axis -5"),
    ("Flatten", "", [()], 1, "axis 1"),
    ("Reduction", "axis: 4", [IMAGE], 1, "axis 4"),
    ("Reduction", "axis: 1", [(2, 0)], 1, "nothing to add up"),
    ("Reduction", "operation: MEAN", [(0, 3)], 1, "nothing to add up"),
    ("Reduction", "", [()], 1, "axis 0"),
    ("Reshape", "shape { dim: -2 dim: -60 }", [IMAGE], 1, "below -1"),
    ("Reshape", "shape { dim: -1 } axis: 5", [IMAGE], 1, "axis 5"),
    ("Reshape", "shape { dim: -1 } axis: -6", [IMAGE], 1, "axis -6"),
    ("Reshape", "shape { dim: -1 } num_axes: -2", [IMAGE], 1, "found -2"),
    ("Reshape", "shape { dim: 1 } axis: 3 num_axes: 2", [IMAGE], 1, "num_axes 2"),
    ("Reshape", "shape { dim: -1 }", [(2, 0)], 1, "empty: 2×0"),
    ("Reshape", "shape { dim: 0 }", [(2, 0)], 1, "empty: 2×0"),
    ("Reshape", "shape { dim: 0 } axis: -1 num_axes: 0", [IMAGE], 1, "no axis"),
    ("Reshape", "", [IMAGE], 1, "120 values"),
    ("Reshape", "shape { dim: 65536 dim: 65536 dim: -1 }", [IMAGE], 1, "4294967296"),
    ("Slice", "slice_dim: 4", [IMAGE], 1, "axis 4"),
    ("Slice", "axis: -5", [IMAGE], 1, "axis -5"),
    ("Slice", "", [IMAGE], 2, "2 tops .* 3"),
    ("Slice", "slice_point: 1 slice_point: 4", [IMAGE], 3, "found 1, 4"),
    ("Slice", "axis: 0 slice_point: 1 slice_point: 2", [IMAGE], 3, "2 cannot be cut into 3"),
    ("Slice", "slice_point: 4294967295", [IMAGE], 2, "4294967295"),
    ("Slice", "", [(2, 0)], 1, "empty: 2×0"),
    ("Softmax", "axis: 4", [IMAGE], 1, "axis 4"),
    ("Softmax", "", [(2, 0, 4, 5)], 1, "axis 1 has size 0"),
    ("Softmax", "", [(2,)], 1, "axis 1"),
    ("Tile", "", [IMAGE], 1, "tiles must be given"),
    ("Tile", "tiles: -1", [IMAGE], 1, "found -1"),
    ("Tile", "tiles: 2 axis: 4", [IMAGE], 1, "axis 4"),
    # forks
    ("Axpy", "", [(2, 4), IMAGE, IMAGE], 1, "2×3, found 2×4"),
    ("Axpy", "", [(2, 3, 4, 1), IMAGE, IMAGE], 1, "found 2×3×4×1"),
    ("Axpy", "", [(2, 3), IMAGE, (2, 3, 4, 4)], 1, "2×3×4×5 and 2×3×4×4"),
    ("Axpy", "", [(2,), (2,), (2,)], 1, "2 axes"),
    ("BN", "frozen: true bn_mode: LEARN", [IMAGE], 1, "frozen: PSPNet; bn_mode: SegNet"),
    ("BN", "eps: 1e-5", [IMAGE], 2, "2 tops: SegNet"),
    ("BN", "bn_mode: LEARN", [(2, 0, 4, 5)], 1, "empty"),
    ("BN", "frozen: true", [(2, 3, 4, 5, 6)], 1, "at most 4 axes"),
    ("ConvolutionDepthwise", "kernel_size: 6", [IMAGE], 1, "kernel 6,.* size 4"),
    ("ConvolutionDepthwise", "kernel_size: 1", [(2, 3, 4)], 1, "4 axes"),
    ("ConvolutionDepthwise", "stride: 1", [IMAGE], 1, "kernel_size"),
    (
        "DepthwiseConvolution", "kernel_size: 1 num_output: 3",
        [IMAGE], 1, "3 input channels, found 1",
    ),
    ("Interp", "", [IMAGE], 1, "give height and width"),
    ("Interp", "height: 3", [IMAGE], 1, "give height and width"),
    ("Interp", "height: 3 width: 0", [IMAGE], 1, "found 3 and 0"),
    ("Interp", "zoom_factor: 0", [IMAGE], 1, "found 1 and 0"),
    ("Interp", "shrink_factor: -1", [IMAGE], 1, "found -1 and 1"),
    ("Interp", "zoom_factor: 2 pad_beg: 1", [IMAGE], 1, "found 1 and 0"),
    ("Interp", "zoom_factor: 2 pad_beg: -4", [IMAGE], 1, "leave nothing"),
    ("Interp", "use_blob_size: true", [IMAGE], 1, "second bottom"),
    ("Normalize", "", [(2,)], 1, "at least 2 axes"),
    ("Normalize", "", [(2, 3, 4, 5, 6)], 1, "at most 4 axes"),
    ("Normalize", "", [(2, 3, 0, 5)], 1, "empty"),
    ("Padding", "pad_beg: 1 pad_end: -1", [IMAGE], 1, "sign"),
    ("Padding", "pad_beg: -2 pad_end: -2", [IMAGE], 1, "leave nothing"),
    ("Permute", "order: 4", [IMAGE], 1, r"\[4\]"),
    ("Permute", "order: 1 order: 1", [IMAGE], 1, "twice"),
    ("ShuffleChannel", "group: 2", [IMAGE], 1, "2 .* 3 channels"),
    ("ShuffleChannel", "group: 0", [IMAGE], 1, "found 0"),
    ("Upsample", "", [IMAGE], 1, "scale must be given"),
    ("Upsample", "scale: 0", [IMAGE], 1, "found 0"),
    ("Upsample", "scale: 1", [IMAGE, IMAGE], 1, "found 1 and 1"),
    ("Upsample", "scale_h: 2", [IMAGE, IMAGE], 1, "give either"),
    ("Upsample", "scale: 2 scale_h: 2 scale_w: 2", [IMAGE, IMAGE], 1, "give either"),
    ("Upsample", "upsample_h: 1 upsample_w: 8", [IMAGE, IMAGE], 1, "found 1 and 8"),
    ("Upsample", "scale: 3 pad_out_h: true", [IMAGE, IMAGE], 1, "pad_out_h .* found 3"),
    ("Upsample", "", [IMAGE, (2, 3, 4, 6)], 1, "2×3×4×5 and 2×3×4×6"),
    ("Upsample", "", [IMAGE[1:], IMAGE[1:]], 1, "4 axes"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "settings", "bottoms", "tops", "message"), REFUSED)
def test_refused(kind, settings, bottoms, tops, message):
    with pytest.raises(LayerError, match=message):
        shapes(kind, settings, *bottoms, tops=tops)


ACCEPTED = [
    ("ArgMax", "", [(2,)], [(2, 1, 1)]),
    ("ArgMax", "out_max_val: true top_k: 2", [(2, 3, 4, 5, 6)], [(2, 2, 2, 1, 1)]),
    ("ArgMax", "axis: -1 top_k: 2 out_max_val: true", [(2, 3)], [(2, 2)]),
    ("ArgMax", "", [(0, 3)], [(0, 1, 1)]),
    ("BatchReindex", "", [(), (3,)], [(3,)]),
    ("BatchReindex", "", [IMAGE, (0,)], [(0, 3, 4, 5)]),
    ("Concat", "", [(2, 0), (2, 0)], [(2, 0)]),
    ("Concat", "axis: -1", [(2, 3), (2, 4)], [(2, 7)]),
    ("Clip", "", [IMAGE], [IMAGE]),
    ("Exp", "base: -1", [()], [()]),
    ("Flatten", "axis: 2 end_axis: 1", [IMAGE], [(2, 3, 1, 4, 5)]),
    ("Flatten", "axis: 0", [IMAGE], [(120,)]),
    ("Flatten", "", [(2, 0, 4)], [(2, 0)]),
    ("Reduction", "operation: ASUM", [(0, 3)], [()]),
    ("Reduction", "axis: -1", [IMAGE], [(2, 3, 4)]),
    ("Reduction", "axis: 1", [(0, 3)], [(0,)]),
    ("Reshape", "", [(1, 1)], [()]),
    ("Reshape", "shape { dim: 1 } axis: -1 num_axes: 0", [IMAGE], [(*IMAGE, 1)]),
    ("Reshape", "shape { dim: 6 } num_axes: 2", [IMAGE], [(6, 4, 5)]),
    # As 32-bit ints these are 0 and -1.
    ("Reshape", "shape { dim: 4294967296 dim: 4294967295 }", [IMAGE], [(2, 60)]),
    # A 0 copies what stands at its place in the bottom, even past the axes that are replaced.
    ("Reshape", "shape { dim: 3 dim: 0 } num_axes: 1", [(3, 1, 7)], [(3, 1, 1, 7)]),
    ("Softmax", "", [(0, 3)], [(0, 3)]),
    ("Softmax", "axis: -4", [IMAGE], [IMAGE]),
    ("Silence", "", [IMAGE, ()], []),
    ("Slice", "slice_point: 1 slice_point: 3", [IMAGE], [(2, 1, 4, 5), (2, 2, 4, 5), (2, 0, 4, 5)]),
    ("Slice", "", [(2, 0)], [(2, 0), (2, 0)]),
    ("Split", "", [IMAGE], [IMAGE, IMAGE, IMAGE]),
    # forks
    ("Axpy", "", [(2, 3, 9), (2, 3), (2, 3)], [(2, 3)]),
    ("BN", "bn_mode: INFERENCE", [(2, 3)], [(2, 3, 1, 1)]),
    ("BN", "bn_mode: INFERENCE", [IMAGE], [IMAGE, (1, 3, 1, 1)]),
    ("BN", "frozen: true", [(2, 3)], [(2, 3)]),
    ("ConvolutionDepthwise", "kernel_size: 3 num_output: 7", [IMAGE], [(2, 3, 2, 3)]),
    ("Interp", "shrink_factor: 2 pad_beg: -1", [IMAGE], [(2, 3, 2, 2)]),
    ("Interp", "height: 7 width: 9", [IMAGE, (1, 1, 2, 2)], [(2, 3, 7, 9)]),
    ("Interp", "height: 7 width: 9 use_blob_size: true", [IMAGE, (1, 1, 2, 6)], [(2, 3, 2, 6)]),
    ("Padding", "pad_beg: 1 pad_end: 2", [IMAGE], [(2, 3, 7, 8)]),
    ("Padding", "pad_beg: -1", [IMAGE], [(2, 3, 3, 4)]),
    ("Permute", "order: 2", [IMAGE], [(4, 2, 3, 5)]),
    ("ShuffleChannel", "group: 3", [IMAGE], [IMAGE]),
    ("Upsample", "scale: 3", [IMAGE], [(2, 3, 12, 15)]),
    ("Upsample", "scale: 2 upsample_h: 7 pad_out_w: true", [IMAGE] * 2, [(2, 3, 8, 9)]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "settings", "bottoms", "expected"), ACCEPTED)
def test_accepted(kind, settings, bottoms, expected):
    assert shapes(kind, settings, *bottoms, tops=len(expected)) == expected


@pytest.mark.parametrize(
    ("kind", "settings", "bottoms", "tops", "expected"),
    [
        ("AbsVal", "", 1, 1, InPlace.REFUSED),
        ("ReLU", "", 1, 1, InPlace.WORKS),
        ("Softmax", "", 1, 1, InPlace.WORKS),
        ("Flatten", "", 1, 1, InPlace.REFUSED),
        ("Reshape", "", 1, 1, InPlace.REFUSED),
        ("Split", "", 1, 1, InPlace.REFUSED),
        ("Concat", "", 1, 1, InPlace.WORKS),
        ("Concat", "", 2, 1, InPlace.NONSENSE),
        ("Slice", "", 1, 1, InPlace.WORKS),
        ("Slice", "", 1, 2, InPlace.REFUSED),
        ("Eltwise", "", 2, 1, InPlace.NONSENSE),
        ("Eltwise", "operation: MAX", 2, 1, InPlace.NONSENSE),
        ("Eltwise", "operation: PROD", 2, 1, InPlace.WORKS),
        ("ArgMax", "", 1, 1, InPlace.NONSENSE),
        ("BN", "", 1, 1, InPlace.WORKS),
        ("ShuffleChannel", "", 1, 1, InPlace.REFUSED),
    ],
)
def test_in_place(kind, settings, bottoms, tops, expected):
    assert layer(kind, settings, tops, bottoms).in_place is expected


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("Clip", "", "0 … 0"),
        ("Clip", "min: 1 max: 0", "1 … 0"),
        ("Dropout", "dropout_ratio: 1.5", "found 1.5"),
        ("Dropout", "sample_weights_test: true", "TEST phase"),
        ("BN", "", "PSPNet.* SegNet"),
        ("BN", "scale_filler { }", "LEARN"),
    ],
)
def test_nonsense_that_caffe_accepts_is_named(kind, settings, message):
    built = layer(kind, settings)
    assert tuple(built.output_shapes([IMAGE])) == (IMAGE,)
    (oddity,) = built.oddities()
    assert re.search(message, oddity)


def test_ordinary_settings_are_not_odd():
    assert list(layer("Dropout", "").oddities()) == []
    assert list(layer("Clip", "min: 0 max: 6").oddities()) == []
    assert list(layer("BN", "bn_mode: INFERENCE").oddities()) == []
    assert list(layer("BN", "bn_mode: LEARN", phase=TRAIN).oddities()) == []


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("bn_param { momentum: 0.9 }", Form.PSPNET),
        ("bn_param { slope_filler { } }", Form.PSPNET),
        ("param { } param { } param { }", Form.PSPNET),
        ("blobs { } blobs { } blobs { } blobs { }", Form.PSPNET),
        ("bn_param { shift_filler { } }", Form.SEGNET),
        ('top: "y" top: "mean" top: "variance"', Form.SEGNET),
        ("blobs { } blobs { }", Form.SEGNET),
        ("", None),
    ],
)
def test_the_form_of_bn_is_told_by_its_settings_tops_and_weights(text, form):
    assert layer("BN", rest=text).form is form


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blobs { } blobs { } blobs { }", "found 3"),
        ("blobs { } blobs { } bn_param { eps: 1 }", "eps: PSPNet; 2 weights: SegNet"),
        ("bn_param { bn_mode: LEARN } param { } param { } param { }", "3 param: PSPNet"),
    ],
)
def test_any_other_bn_is_refused(text, message):
    with pytest.raises(LayerError, match=message):
        layer("BN", rest=text).output_shapes([IMAGE])


def fillers(kind, settings=""):
    weights = layer(kind, settings).weights([IMAGE])
    return [(weight.filler.type, weight.filler.value) for weight in weights]


def test_initial_values_of_the_forks_weights():
    zero, one, twenty = ("constant", 0), ("constant", 1), ("constant", 20)
    assert fillers("BN", "slope_filler { value: 1 }") == [one, zero, zero, zero]
    assert fillers("BN", "frozen: true") == [zero, zero, zero, one]
    assert fillers("BN", "scale_filler { value: 1 }") == [one, zero]
    assert fillers("Normalize") == [one]
    assert fillers("Normalize", "scale_filler { value: 20 }") == [twenty]
    assert fillers("ConvolutionDepthwise", "kernel_size: 1 bias_filler { value: 1 }") == [zero, one]


# Arithmetic against numpy.

sizes = st.integers(1, 4)
blob_shapes = st.lists(sizes, min_size=1, max_size=5).map(tuple)


@given(blob_shapes, st.data())
def test_concat_of_slices_is_the_bottom(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    points = sorted(data.draw(st.sets(st.integers(1, max(1, shape[axis] - 1)), max_size=3)))
    points = points if shape[axis] > 1 else []
    listed = " ".join(f"slice_point: {point}" for point in points)
    parts = shapes("Slice", f"axis: {axis} {listed}", shape, tops=len(points) + 1)
    expected = np.split(np.empty(shape), points, axis)
    assert parts == [part.shape for part in expected]
    joined = np.concatenate(expected, axis)
    assert shapes("Concat", f"axis: {axis}", *parts) == [joined.shape]


@given(blob_shapes, st.data(), st.integers(1, 5))
def test_tile_and_equal_slices(shape, data, count):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    (tiled,) = shapes("Tile", f"axis: {axis} tiles: {count}", shape)
    assert tiled == np.concatenate([np.empty(shape)] * count, axis).shape
    parts = shapes("Slice", f"axis: {axis}", tiled, tops=count)
    assert parts == [shape] * count


@given(blob_shapes, blob_shapes, st.data())
def test_reshape_is_that_of_numpy(shape, new, data):
    start = data.draw(st.integers(0, len(shape)))
    end = data.draw(st.integers(start, len(shape)))
    replaced = list(new)
    for place in range(len(new)):
        if start + place < len(shape) and data.draw(st.booleans()):
            replaced[place] = 0
    if data.draw(st.booleans()):
        replaced[data.draw(st.integers(0, len(new) - 1))] = -1
    dims = " ".join(f"dim: {size}" for size in replaced)
    axis = data.draw(st.sampled_from([start, start - len(shape) - 1]))
    count = -1 if end == len(shape) and data.draw(st.booleans()) else end - start
    settings = f"shape {{ {dims} }} axis: {axis} num_axes: {count}"
    copied = [shape[start + place] if size == 0 else size for place, size in enumerate(replaced)]
    try:
        expected = np.empty(shape).reshape(*shape[:start], *copied, *shape[end:]).shape
    except ValueError:
        with pytest.raises(LayerError):
            shapes("Reshape", settings, shape)
    else:
        assert shapes("Reshape", settings, shape) == [expected]


@given(blob_shapes, st.data())
def test_flatten_and_permute(shape, data):
    start = data.draw(st.integers(0, len(shape) - 1))
    end = data.draw(st.integers(start, len(shape) - 1))
    settings = f"axis: {start} end_axis: {end - len(shape)}"
    merged = np.empty(shape).reshape(*shape[:start], -1, *shape[end + 1 :]).shape
    assert shapes("Flatten", settings, shape) == [merged]
    order = data.draw(st.permutations(range(len(shape))))
    listed = " ".join(f"order: {axis}" for axis in order)
    expected = np.empty(shape).transpose(order).shape
    assert shapes("Permute", listed, shape) == [expected]


# Where pixels lie.


@pytest.mark.parametrize(
    ("kind", "settings", "bottoms"),
    [
        ("ReLU", "", 1),
        ("Softmax", "", 1),
        ("Eltwise", "", 2),
        ("Concat", "", 2),
        ("Slice", "axis: -3", 1),
        ("Tile", "axis: 0 tiles: 2", 1),
        ("ArgMax", "axis: 1", 1),
        ("Permute", "order: 1", 1),
        ("BN", "", 1),
        ("ShuffleChannel", "", 1),
    ],
)
def test_pixels_stay(kind, settings, bottoms):
    built = layer(kind, settings, bottoms=bottoms)
    assert built.coord_map() == IDENTITY
    assert built.aligns_all_bottoms is (bottoms > 1)


@pytest.mark.parametrize(
    ("kind", "settings", "bottoms"),
    [
        ("Flatten", "", 1),
        ("Reshape", "", 1),
        ("Reduction", "", 1),
        ("ArgMax", "", 1),
        ("ArgMax", "axis: 2", 1),
        ("Concat", "axis: -1", 1),
        ("Slice", "slice_dim: 3", 1),
        ("Tile", "axis: 2 tiles: 2", 1),
        ("Permute", "order: 0 order: 2 order: 3", 1),
        ("Interp", "height: 3 width: 3", 1),
        ("Interp", "shrink_factor: 2", 1),
        ("Interp", "zoom_factor: 2 use_blob_size: true", 2),
        ("Upsample", "upsample_h: 3 upsample_w: 3", 2),
        ("PriorBox", "", 2),
    ],
)
def test_pixels_that_cannot_be_followed(kind, settings, bottoms):
    with pytest.raises(LayerError):
        layer(kind, settings, bottoms=bottoms).coord_map()


def bilinear(image, row, column):
    """The value of a map between its pixels."""
    rows = sorted({math.floor(row), math.ceil(row)})
    columns = sorted({math.floor(column), math.ceil(column)})
    return sum(
        float((1 - abs(row - r)) * (1 - abs(column - c))) * image[r, c]
        for r in rows
        for c in columns
    )


@pytest.mark.parametrize("name", ["interp_zoom2", "interp_zoom8", "interp_pad_zoom"])
def test_a_zoomed_pixel_is_read_where_coord_map_says(name):
    net = text_format.Parse((GOLDEN / "forks" / f"{name}.prototxt").read_text(), NetParameter())
    place = layer_types()["Interp"](net.layer[0]).coord_map()
    with np.load(GOLDEN / "forks" / f"{name}.npz") as arrays:
        bottom, top = arrays["in/data"][0, 0], arrays["out/out"][0, 0]
    computed = [
        [bilinear(bottom, place.rows(r), place.columns(c)) for c in range(top.shape[1])]
        for r in range(top.shape[0])
    ]
    np.testing.assert_allclose(computed, top, rtol=0, atol=2e-6)  # float32 of values about 1


@pytest.mark.parametrize("name", ["upsample_scale", "upsample_scale_hw", "upsample_pad_out_both"])
def test_an_unpooled_value_lands_within_half_a_pixel_of_where_coord_map_says(name):
    net = text_format.Parse((GOLDEN / "forks" / f"{name}.prototxt").read_text(), NetParameter())
    place = layer_types()["Upsample"](net.layer[-1]).coord_map()
    with np.load(GOLDEN / "forks" / f"{name}.npz") as arrays:
        mask, width = arrays["out/p_mask"][0, 0].astype(int), arrays["out/out"].shape[3]
    for (r, c), index in np.ndenumerate(mask):
        row, column = divmod(int(index), width)
        assert abs(place.rows(row) - r) < Fraction(1, 2)
        assert abs(place.columns(column) - c) < Fraction(1, 2)


def test_a_zoomed_pixel_stays_itself_behind_what_is_cropped():
    cropped = np.arange(8)[2:-1]
    place = layer("Interp", "zoom_factor: 3 pad_beg: -2 pad_end: -1").coord_map()
    assert [place.rows(3 * pixel) for pixel in range(len(cropped))] == cropped.tolist()


def test_a_repeated_pixel_is_centred_on_its_block():
    place = layer("Upsample", "scale: 3").coord_map()
    block = np.arange(12).repeat(3)
    for pixel in range(12):
        assert np.mean([place.rows(int(at)) for at in np.flatnonzero(block == pixel)]) == pixel


@pytest.mark.parametrize(("begin", "end"), [(2, 1), (-2, -1)])
def test_padding_shifts(begin, end):
    settings = f"pad_beg: {begin} pad_end: {end}"
    line = np.arange(6)
    padded = np.pad(line, (begin, end)) if begin > 0 else line[-begin:end]
    assert shapes("Padding", settings, (1, 1, 6, 6)) == [(1, 1, len(padded), len(padded))]
    place = layer("Padding", settings).coord_map()
    found = np.flatnonzero(padded)
    assert [place.columns(int(at)) for at in found] == padded[found].tolist()


# What is registered.


@pytest.mark.parametrize("kind", BVLC + FORKS + KNOWN + ["SeLu", "SeLuDropout"])
def test_settings_are_fields_and_forks_are_named(kind):
    found = layer_types()[kind]
    assert found.settings is None or found.settings in LayerParameter.DESCRIPTOR.fields_by_name
    assert (found.fork is None) == (kind in BVLC)


@pytest.mark.parametrize("kind", KNOWN)
def test_layers_that_are_only_known_say_nothing_of_their_tops(kind):
    tops = layer(kind, tops=2).output_shapes([IMAGE])
    assert len(tops) == max(2, layer_types()[kind].tops.least)
    assert set(tops) == {None}
    assert layer(kind).weights([IMAGE]) == ()
