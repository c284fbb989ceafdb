"""Bringing old nets and solvers to the current form, in memory and exactly as Caffe does.

Nets of 2013 (V0: `layers { layer { … } }`) become nets of 2014 (V1: `layers` with enumerated
types), and those become current ones; settings of data layers move to transform_param, net-level
inputs to an Input layer, and BatchNorm layers with three params stop learning them. What gets lost
on the way is said in a warning. Source: Caffe's util/upgrade_proto.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from fcnproto.errors import Problem, PrototxtError
from fcnproto.proto.caffe_pb2 import (
    LayerParameter,
    NetParameter,
    SolverParameter,
    V1LayerParameter,
)
from fcnproto.proto.copying import UpgradeError, copy, fields_of
from fcnproto.proto.schema import put, readable, set_fields
from fcnproto.proto.upgrade_v0 import v0_to_v1

MessageT = TypeVar("MessageT", bound=Message)


@dataclass(frozen=True)
class Upgraded(Generic[MessageT]):
    """A net or solver in the current form.

    `origins` has one entry per layer of a net: its index in the old `layer` or `layers`, or None
    for an Input layer made from net-level fields. `warnings` say what the upgrade loses. `changed`
    is False where nothing was of an older form.
    """

    message: MessageT
    origins: tuple[int | None, ...]
    warnings: tuple[str, ...]
    changed: bool


def upgrade_net(net: NetParameter) -> Upgraded[NetParameter]:
    """A net in the current form; the given one stays as it is.

    Raises UpgradeError where Caffe aborts: unknown V0 types and bottoms, padding that is read by
    anything but a convolution or pooling, `layer` beside `layers`, fewer sizes than inputs.
    """
    warnings: list[str] = []
    origins: list[int | None] = list(range(len(net.layers) or len(net.layer)))
    current = net
    if any(entry.HasField("layer") for entry in net.layers):
        current, origins = v0_to_v1(net, warnings)
    if current.layers:
        current = _v1_to_v2(current)
        _move_transforms(current)
    else:
        current = NetParameter()
        current.CopyFrom(net)
    _find_own_crops(current)
    forked = [change for layer in current.layer for change in _without_forks_words(layer)]
    if current.input:
        _make_input_layer(current, origins, warnings)
    frozen = _freeze_batch_norms(current)
    changed = bool(net.layers or net.input or frozen or any(forked))
    return Upgraded(current, tuple(origins), tuple(warnings), changed)


def upgrade_solver(solver: SolverParameter) -> Upgraded[SolverParameter]:
    """A solver with its type as a string; the given one stays as it is.

    Raises PrototxtError where both `type` and the old `solver_type` are given, as Caffe aborts.
    """
    current = SolverParameter()
    current.CopyFrom(solver)
    old = solver.HasField("solver_type")
    if old:
        if current.HasField("type"):
            raise PrototxtError("type and the old solver_type are both given; keep only type")
        current.type = _SOLVER_TYPES[SolverParameter.SolverType.Name(current.solver_type)]
        current.ClearField("solver_type")
    return Upgraded(current, (), (), old)


_SOLVER_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}


# Current nets -------------------------------------------------------------------------------

_DIMS_PER_INPUT = 4


def _make_input_layer(net: NetParameter, origins: list[int | None], warnings: list[str]) -> None:
    """Make net-level inputs one Input layer at the front; input_shape beats input_dim."""
    names = ", ".join(f"'{readable(name)}'" for name in net.input)
    if net.input_shape:
        _enough("input_shape", len(net.input), len(net.input_shape), warnings)
    elif net.input_dim:
        wanted = _DIMS_PER_INPUT * len(net.input)
        _enough("input_dim", wanted, len(net.input_dim), warnings)
    else:
        warnings.append(
            f"input {names} is dropped, as in Caffe: it has no input_shape or input_dim"
        )

    if net.input_shape or net.input_dim:
        layer = LayerParameter(name="input", type="Input")
        for index, name in enumerate(net.input):
            put(layer, "top", name)
            shape = layer.input_param.shape.add()
            if net.input_shape:
                shape.CopyFrom(net.input_shape[index])
            else:
                first = index * _DIMS_PER_INPUT
                shape.dim.extend(net.input_dim[first : first + _DIMS_PER_INPUT])
        net.layer.insert(0, layer)
        origins.insert(0, None)
    for name in ("input", "input_shape", "input_dim"):
        net.ClearField(name)


def _enough(name: str, wanted: int, given: int, warnings: list[str]) -> None:
    """Refuse too few sizes (Caffe reads past their end), and warn of those that it ignores."""
    if given < wanted:
        message = f"the inputs need {wanted} {name} entries, found {given}"
        raise UpgradeError(((name, 0), Problem(message)))
    if given > wanted:
        warnings.append(f"the inputs take the first {wanted} of {given} {name} entries")


_OLD_BATCH_NORM_PARAMS = 3  # mean, variance and factor used to be declared, and must not be learned


def _freeze_batch_norms(net: NetParameter) -> bool:
    """Stop the learning of old BatchNorm layers; False if there are none."""
    old = [
        layer
        for layer in net.layer
        if layer.type == "BatchNorm" and len(layer.param) == _OLD_BATCH_NORM_PARAMS
    ]
    for layer in old:
        for param in layer.param:
            param.lr_mult = 0
            param.decay_mult = 0
    return bool(old)


# V1: `layers` with enumerated types -----------------------------------------------------------

_V1_TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "ELTWISE": "Eltwise",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "SLICE": "Slice",
    "TANH": "TanH",
    "WINDOW_DATA": "WindowData",
    "THRESHOLD": "Threshold",
    "MULTI_STAGE_MEANFIELD": "MultiStageMeanfield",
    # Of forks. The crop of 2015 found its offset itself, as RCF's AutoCrop does.
    "BN": "BN",
    "CROP": "AutoCrop",
    "DENSE_CRF": "DenseCRF",
    "DENSE_IMAGE_DATA": "DenseImageData",
    "ELTWISE_ACCURACY": "EltwiseAccuracy",
    "IMAGE_SEG_DATA": "ImageSegData",
    "INTERP": "Interp",
    "MAT_READ": "MatRead",
    "MAT_WRITE": "MatWrite",
    "PADDING": "Padding",
    "SEG_ACCURACY": "SegAccuracy",
    "UNPOOLING": "Unpooling",
    "UPSAMPLE": "Upsample",
    "WINDOW_SEG_DATA": "WindowSegData",
}

# One list each per weight blob became one message per weight blob.
_V1_PARAMS = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}

# Only `type` and `param` kept their names and changed their kinds.
_V1_KEPT = frozenset(V1LayerParameter.DESCRIPTOR.fields_by_name) & frozenset(
    LayerParameter.DESCRIPTOR.fields_by_name
) - {"type", "param"}


def _v1_to_v2(net: NetParameter) -> NetParameter:
    if net.layer:
        message = (
            "both 'layer' and the old 'layers' are used, and Caffe refuses to upgrade a mixture;"
            ' write every layer as layer { type: "…" }'
        )
        raise UpgradeError((("layer", 0), Problem(message)))
    current = NetParameter()
    copy(net, current, (name for name in fields_of(net) if name != "layers"))
    for entry in net.layers:
        layer = current.layer.add()
        copy(entry, layer, _V1_KEPT)
        if entry.HasField("type"):
            layer.type = _V1_TYPES[V1LayerParameter.LayerType.Name(entry.type)]
        else:
            _recognise_mean_field(entry, layer)
        for old, new in _V1_PARAMS.items():
            for index, value in enumerate(getattr(entry, old)):
                while len(layer.param) <= index:
                    layer.param.add()
                put(layer.param[index], new, value)
    return current


def _find_own_crops(net: NetParameter) -> None:
    """Let the crops of CRF-RNN's first release find their offsets, as those of its code do.

    Its nets have settings of the mean field that no later code takes; that has BVLC's Crop.
    """
    fields = [layer.multi_stage_meanfield_param for layer in net.layer]
    if any(
        field.HasField(name)
        for field in fields
        for name in ("spatial_filter_weight", "bilateral_filter_weight")
    ):
        for layer in net.layer:
            if layer.type == "Crop" and not layer.HasField("crop_param"):
                layer.type = _V1_TYPES["CROP"]


_MEAN_FIELD = 42  # and its settings 44: by these numbers, DeconvNet has UNPOOLING
_MEAN_FIELD_BLOBS = 3
_TYPE, _SETTINGS = 5, 44


def _recognise_mean_field(entry: V1LayerParameter, layer: LayerParameter) -> None:
    """Tell CRF-RNN's layer in a binary file by its three blobs; DeconvNet's UNPOOLING has none."""
    fields = UnknownFieldSet(entry)
    unknown = {fields[at].field_number: fields[at].data for at in range(len(fields))}
    if unknown.get(_TYPE) != _MEAN_FIELD or len(entry.blobs) != _MEAN_FIELD_BLOBS:
        return
    layer.type = _V1_TYPES["MULTI_STAGE_MEANFIELD"]
    settings = unknown.get(_SETTINGS)
    if isinstance(settings, bytes):
        try:
            layer.multi_stage_meanfield_param.ParseFromString(settings)
        except DecodeError:
            layer.ClearField("multi_stage_meanfield_param")


def _without_forks_words(layer: LayerParameter) -> Iterator[bool]:
    """Say in current words what forks said in words of their own; True for each that changed.

    DeepLab's first version called dilation `hole`, and said in softmaxloss_param which labels its
    loss ignores and does not count, as loss_param does of one; DeconvNet's UNPOOLING by a mask is
    SegNet's Upsample to a given size.
    """
    settings = layer.convolution_param
    for old in ("hole", "hole_h", "hole_w"):
        values = _values(settings, old)
        if values:
            settings.dilation.extend(values)
            settings.ClearField(old)
            yield True
    ignored = set(layer.softmaxloss_param.ignore_label)
    if len(ignored) == 1:
        layer.loss_param.ignore_label = ignored.pop()
        layer.ClearField("softmaxloss_param")
        yield True
    unpooling = layer.unpooling_param
    if layer.type == "Unpooling" and len(layer.bottom) == 2:
        size = unpooling.unpool_size
        layer.type = "Upsample"
        layer.upsample_param.upsample_h = unpooling.unpool_h or size
        layer.upsample_param.upsample_w = unpooling.unpool_w or size
        layer.ClearField("unpooling_param")
        yield True


def _values(message: Message, name: str) -> list[Any]:
    """The values of a field, none if it is not set."""
    return next((list(values) for field, values in set_fields(message) if field.name == name), [])


_TRANSFORMED = {
    "Data": "data_param",
    "ImageData": "image_data_param",
    "WindowData": "window_data_param",
}
_TRANSFORMS = ("scale", "mean_file", "crop_size", "mirror")


def _move_transforms(net: NetParameter) -> None:
    """Move the old settings of data layers to transform_param, over what stands there.

    If one data layer has any, each of them gets both messages, as in Caffe; they may be empty.
    """
    layers = [layer for layer in net.layer if layer.type in _TRANSFORMED]
    pairs = [(layer, getattr(layer, _TRANSFORMED[layer.type])) for layer in layers]
    if not any(settings.HasField(name) for _, settings in pairs for name in _TRANSFORMS):
        return
    for layer, settings in pairs:
        settings.SetInParent()
        layer.transform_param.SetInParent()
        copy(settings, layer.transform_param, _TRANSFORMS)
        for name in _TRANSFORMS:
            settings.ClearField(name)


# V0: all settings in one message --------------------------------------------------------------


# Messages ---------------------------------------------------------------------------------------
