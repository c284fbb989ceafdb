"""Bringing old nets and solvers to the current form, in memory and exactly as Caffe does.

Nets of 2013 (V0: `layers { layer { … } }`) become nets of 2014 (V1: `layers` with enumerated
types), and those become current ones; settings of data layers move to transform_param, net-level
inputs to an Input layer, and BatchNorm layers with three params stop learning them. What gets lost
on the way is said in a warning. Source: Caffe's util/upgrade_proto.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from fcnproto.errors import NetError, Problem, PrototxtError
from fcnproto.proto.caffe_pb2 import (
    LayerParameter,
    NetParameter,
    SolverParameter,
    V0LayerParameter,
    V1LayerParameter,
)
from fcnproto.proto.reader import FieldPath
from fcnproto.proto.schema import put, readable, set_fields

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


class UpgradeError(NetError):
    """A net that Caffe cannot upgrade; `places` are paths in the old net, one per problem."""

    def __init__(self, *complaints: tuple[FieldPath, Problem]) -> None:
        super().__init__(*(problem for _, problem in complaints))
        self.places = tuple(place for place, _ in complaints)


def upgrade_net(net: NetParameter) -> Upgraded[NetParameter]:
    """A net in the current form; the given one stays as it is.

    Raises UpgradeError where Caffe aborts: unknown V0 types and bottoms, padding that is read by
    anything but a convolution or pooling, `layer` beside `layers`, fewer sizes than inputs.
    """
    warnings: list[str] = []
    origins: list[int | None] = list(range(len(net.layers) or len(net.layer)))
    current = net
    if any(entry.HasField("layer") for entry in net.layers):
        current, origins = _v0_to_v1(net, warnings)
    if current.layers:
        current = _v1_to_v2(current)
        _move_transforms(current)
    else:
        current = NetParameter()
        current.CopyFrom(net)
    if current.input:
        _make_input_layer(current, origins, warnings)
    frozen = _freeze_batch_norms(current)
    changed = bool(net.layers or net.input or frozen)
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
    _copy(net, current, (name for name in _fields(net) if name != "layers"))
    for entry in net.layers:
        layer = current.layer.add()
        _copy(entry, layer, _V1_KEPT)
        if entry.HasField("type"):
            layer.type = _V1_TYPES[V1LayerParameter.LayerType.Name(entry.type)]
        for old, new in _V1_PARAMS.items():
            for index, value in enumerate(getattr(entry, old)):
                while len(layer.param) <= index:
                    layer.param.add()
                put(layer.param[index], new, value)
    return current


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
        _copy(settings, layer.transform_param, _TRANSFORMS)
        for name in _TRANSFORMS:
            settings.ClearField(name)


# V0: all settings in one message --------------------------------------------------------------

_V0_TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}

_V0_MESSAGES = {
    "concat": "concat_param",
    "conv": "convolution_param",
    "data": "data_param",
    "dropout": "dropout_param",
    "hdf5_data": "hdf5_data_param",
    "images": "image_data_param",
    "infogain_loss": "infogain_loss_param",
    "innerproduct": "inner_product_param",
    "lrn": "lrn_param",
    "pool": "pooling_param",
    "window_data": "window_data_param",
}

# Every setting: its name in the type's own message, and the types that take it.
_V0_SETTINGS = {
    "num_output": ("num_output", ("conv", "innerproduct")),
    "biasterm": ("bias_term", ("conv", "innerproduct")),
    "weight_filler": ("weight_filler", ("conv", "innerproduct")),
    "bias_filler": ("bias_filler", ("conv", "innerproduct")),
    "pad": ("pad", ("conv", "pool")),
    "kernelsize": ("kernel_size", ("conv", "pool")),
    "group": ("group", ("conv",)),
    "stride": ("stride", ("conv", "pool")),
    "pool": ("pool", ("pool",)),
    "dropout_ratio": ("dropout_ratio", ("dropout",)),
    "local_size": ("local_size", ("lrn",)),
    "alpha": ("alpha", ("lrn",)),
    "beta": ("beta", ("lrn",)),
    "k": ("k", ("lrn",)),
    "source": ("source", ("data", "hdf5_data", "images", "window_data", "infogain_loss")),
    "batchsize": ("batch_size", ("data", "hdf5_data", "images", "window_data")),
    "rand_skip": ("rand_skip", ("data", "images")),
    "shuffle_images": ("shuffle", ("images",)),
    "new_height": ("new_height", ("images",)),
    "new_width": ("new_width", ("images",)),
    "concat_dim": ("concat_dim", ("concat",)),
    "det_fg_threshold": ("fg_threshold", ("window_data",)),
    "det_bg_threshold": ("bg_threshold", ("window_data",)),
    "det_fg_fraction": ("fg_fraction", ("window_data",)),
    "det_context_pad": ("context_pad", ("window_data",)),
    "det_crop_mode": ("crop_mode", ("window_data",)),
    "new_num": ("", ()),
    "new_channels": ("", ()),
}
# These go to transform_param, whatever the type.
_V0_TRANSFORMS = {
    "scale": "scale",
    "meanfile": "mean_file",
    "cropsize": "crop_size",
    "mirror": "mirror",
}
_V0_KEPT = ("name", "blobs", "blobs_lr", "weight_decay")
_V0_NET_KEPT = ("name", "input", "input_dim", "force_backward")


def _v0_to_v1(net: NetParameter, warnings: list[str]) -> tuple[NetParameter, list[int | None]]:
    """A V0 net as a V1 net, and where each of its layers comes from.

    Everything that V0 had no word for is lost: net-level fields, and V1's fields beside a V0 layer.
    """
    lost = [name for name in _fields(net) if name not in (*_V0_NET_KEPT, "layers")]
    warnings += [f"{name} of a V0 net is dropped, as in Caffe" for name in lost]
    current = NetParameter()
    _copy(net, current, _V0_NET_KEPT)

    entries, complaints = _without_padding(net)
    for index, entry in entries:
        kind = entry.layer.type
        if entry.layer.HasField("type") and kind not in _V0_TYPES:
            message = f"unknown V0 layer type '{readable(kind)}'"
            complaints.append(_complaint(index, entry, message))
            continue
        current.layers.append(_v0_layer(entry))
        warnings += _v0_losses(entry)
    if complaints:
        raise UpgradeError(*complaints)
    return current, [index for index, _ in entries]


def _v0_layer(entry: V1LayerParameter) -> V1LayerParameter:
    layer = V1LayerParameter()
    _copy(entry, layer, ("bottom", "top"))
    old = entry.layer
    _copy(old, layer, _V0_KEPT)
    if old.HasField("type"):
        put(layer, "type", V1LayerParameter.LayerType.Value(_V0_TYPES[old.type]))
    if old.type == "hdf5_output":
        _copy(old, layer, ("hdf5_output_param",))
    for name, value in _fields(old).items():
        if name in _V0_TRANSFORMS:
            put(layer.transform_param, _V0_TRANSFORMS[name], value)
        elif _takes(old, name):
            put(getattr(layer, _V0_MESSAGES[old.type]), _V0_SETTINGS[name][0], value)
    return layer


def _takes(layer: V0LayerParameter, name: str) -> bool:
    return layer.type in _V0_SETTINGS.get(name, ("", ()))[1]


def _v0_losses(entry: V1LayerParameter) -> Iterator[str]:
    old = entry.layer
    subject = f"layer '{readable(old.name or entry.name)}'"
    for field in _fields(old):
        foreign = field in _V0_SETTINGS and not _takes(old, field)
        if foreign or (field == "hdf5_output_param" and old.type != "hdf5_output"):
            kind = f"V0 layers of type '{readable(old.type)}' have none"
            yield f"{subject}: {field} is dropped, as in Caffe: {kind}"
    for field in _fields(entry):
        if field not in ("layer", "bottom", "top"):
            rule = "in a V0 net only bottom and top stand outside of layer { … }"
            yield f"{subject}: {field} is dropped, as in Caffe: {rule}"


def _without_padding(
    net: NetParameter,
) -> tuple[list[tuple[int, V1LayerParameter]], list[tuple[FieldPath, Problem]]]:
    """The layers without those of type "padding", whose pads their readers take over."""
    makers: dict[str, int | None] = dict.fromkeys(net.input)
    kept: list[tuple[int, V1LayerParameter]] = []
    complaints: list[tuple[FieldPath, Problem]] = []
    for index, entry in enumerate(net.layers):
        if entry.layer.type != "padding":
            copy = V1LayerParameter()
            copy.CopyFrom(entry)
            kept.append((index, copy))
        for blob in entry.bottom:
            if blob not in makers:
                message = f"bottom '{readable(blob)}' is made by no layer before it"
                complaints.append(_complaint(index, entry, message))
                continue
            maker = makers[blob]
            if maker is None or net.layers[maker].layer.type != "padding":
                continue
            padding = net.layers[maker]
            objection = _padding_objection(entry, padding)
            if objection:
                complaints.append(_complaint(index, entry, objection))
                continue
            copy.layer.pad = padding.layer.pad
            copy.ClearField("bottom")
            _copy(padding, copy, ("bottom",))
        makers.update(dict.fromkeys(entry.top, index))
    return kept, complaints


def _padding_objection(reader: V1LayerParameter, padding: V1LayerParameter) -> str | None:
    name = readable(padding.layer.name)
    if reader.layer.type not in ("conv", "pool"):
        kind = readable(reader.layer.type)
        return (
            f"it reads padding '{name}', which only conv and pool layers can; its type is '{kind}'"
        )
    if len(reader.bottom) != 1:
        return (
            f"it reads padding '{name}' and must have no other bottom, found {len(reader.bottom)}"
        )
    if len(padding.bottom) != 1 or len(padding.top) != 1:
        return (
            f"it reads padding '{name}', which must have one bottom and one top,"
            f" found {len(padding.bottom)} and {len(padding.top)}"
        )
    return None


# Messages ---------------------------------------------------------------------------------------


def _complaint(index: int, entry: V1LayerParameter, message: str) -> tuple[FieldPath, Problem]:
    name = readable(entry.layer.name or entry.name)
    return ("layers", index), Problem(message, layer=name or None)


def _fields(message: Message) -> dict[str, Any]:
    """The fields that are set, by name."""
    return {field.name: value for field, value in message.ListFields()}


def _copy(source: Message, target: Message, names: Iterable[str]) -> None:
    """Copy fields that are set to the fields of the same names."""
    wanted = frozenset(names)
    for field, values in set_fields(source):
        if field.name in wanted:
            for value in values:
                put(target, field.name, value)
