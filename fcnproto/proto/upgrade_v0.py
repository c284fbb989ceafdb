"""V0 nets, with all of a layer's settings in one message, to V1."""

from __future__ import annotations

from collections.abc import Iterator

from fcnproto.errors import Problem
from fcnproto.proto.caffe_pb2 import (
    NetParameter,
    V0LayerParameter,
    V1LayerParameter,
)
from fcnproto.proto.copying import UpgradeError, complaint, copy, fields_of
from fcnproto.proto.schema import put, readable
from fcnproto.proto.tokens import FieldPath


def v0_to_v1(net: NetParameter, warnings: list[str]) -> tuple[NetParameter, list[int | None]]:
    """A V0 net as a V1 net, and where each of its layers comes from.

    Everything that V0 had no word for is lost: net-level fields, and V1's fields beside a V0 layer.
    """
    lost = [name for name in fields_of(net) if name not in (*_V0_NET_KEPT, "layers")]
    warnings += [f"{name} of a V0 net is dropped, as in Caffe" for name in lost]
    current = NetParameter()
    copy(net, current, _V0_NET_KEPT)

    entries, complaints = _without_padding(net)
    for index, entry in entries:
        kind = entry.layer.type
        if entry.layer.HasField("type") and kind not in _V0_TYPES:
            message = f"unknown V0 layer type '{readable(kind)}'"
            complaints.append(complaint(index, entry, message))
            continue
        current.layers.append(_v0_layer(entry))
        warnings += _v0_losses(entry)
    if complaints:
        raise UpgradeError(*complaints)
    return current, [index for index, _ in entries]


def _v0_layer(entry: V1LayerParameter) -> V1LayerParameter:
    layer = V1LayerParameter()
    copy(entry, layer, ("bottom", "top"))
    old = entry.layer
    copy(old, layer, _V0_KEPT)
    if old.HasField("type"):
        put(layer, "type", V1LayerParameter.LayerType.Value(_V0_TYPES[old.type]))
    if old.type == "hdf5_output":
        copy(old, layer, ("hdf5_output_param",))
    for name, value in fields_of(old).items():
        if name in _V0_TRANSFORMS:
            put(layer.transform_param, _V0_TRANSFORMS[name], value)
        elif _takes(old, name):
            settings, new = getattr(layer, _V0_MESSAGES[old.type]), _V0_SETTINGS[name][0]
            put(settings, new, value % 2**32 if name in _V0_SIGNED else value)
    return layer


_V0_SIGNED = ("new_height", "new_width")
"""They are int32 in V0 and uint32 after it: C++ wraps what is negative."""


def _takes(layer: V0LayerParameter, name: str) -> bool:
    return layer.type in _V0_SETTINGS.get(name, ("", ()))[1]


def _v0_losses(entry: V1LayerParameter) -> Iterator[str]:
    old = entry.layer
    subject = f"layer '{readable(old.name or entry.name)}'"
    for field in fields_of(old):
        foreign = field in _V0_SETTINGS and not _takes(old, field)
        if foreign or (field == "hdf5_output_param" and old.type != "hdf5_output"):
            kind = f"V0 layers of type '{readable(old.type)}' have none"
            yield f"{subject}: {field} is dropped, as in Caffe: {kind}"
    for field in fields_of(entry):
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
            joined = V1LayerParameter()
            joined.CopyFrom(entry)
            kept.append((index, joined))
        for blob in entry.bottom:
            if blob not in makers:
                message = f"bottom '{readable(blob)}' is made by no layer before it"
                complaints.append(complaint(index, entry, message))
                continue
            maker = makers[blob]
            if maker is None or net.layers[maker].layer.type != "padding":
                continue
            padding = net.layers[maker]
            objection = _padding_objection(entry, padding)
            if objection:
                complaints.append(complaint(index, entry, objection))
                continue
            joined.layer.pad = padding.layer.pad
            joined.ClearField("bottom")
            copy(padding, joined, ("bottom",))
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
