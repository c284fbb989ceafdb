"""What differs in meaning between two nets or solvers, not in spelling.

A value that is written out and the same value by default mean the same, as do a kernel given once
and given per axis. The net's own name says nothing about what it computes, and is not compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from fcnproto.errors import printable
from fcnproto.layers import layer_types
from fcnproto.proto.caffe_pb2 import (
    ConvolutionParameter,
    CropParameter,
    LayerParameter,
    NetParameter,
    PoolingParameter,
    SolverParameter,
)


def net_differences(first: NetParameter, second: NetParameter) -> list[str]:
    """What differs, a line each; layers are matched by name, and ordered as in the first net."""
    lines = list(_fields(first, second, "", skip=("name", "layer")))
    theirs = _by_name(second)
    for key, (layer, writers) in _by_name(first).items():
        if key not in theirs:
            lines.append(f"layer {_title(key)}: only in the first")
            continue
        other, other_writers = theirs.pop(key)
        lines += [f"layer {_title(key)}: {line}" for line in _layers(layer, other)]
        if list(layer.bottom) == list(other.bottom) and writers != other_writers:
            lines.append(
                f"layer {_title(key)}: its bottoms are written by {', '.join(writers)}"
                f" → {', '.join(other_writers)}"
            )
    lines += [f"layer {_title(key)}: only in the second" for key in theirs]
    return list(map(printable, lines))


def solver_differences(first: SolverParameter, second: SolverParameter) -> list[str]:
    """What differs, a line each."""
    return list(map(printable, _fields(first, second, "")))


_Key = tuple[str, int]


def _by_name(net: NetParameter) -> dict[_Key, tuple[LayerParameter, list[str]]]:
    """Each layer by its name and how often the name was seen, with the writers of its bottoms."""
    seen: Counter[str] = Counter()
    writer: dict[str, str] = {}
    layers: dict[_Key, tuple[LayerParameter, list[str]]] = {}
    for layer in net.layer:
        bottoms = [writer.get(bottom, "nobody") for bottom in layer.bottom]
        layers[layer.name, seen[layer.name]] = layer, bottoms
        seen[layer.name] += 1
        writer.update(dict.fromkeys(layer.top, layer.name))
    return layers


def _title(key: _Key) -> str:
    name, occurrence = key
    return f"'{name}'" + (f" ({occurrence + 1})" if occurrence else "")


def _layers(first: LayerParameter, second: LayerParameter) -> Iterator[str]:
    """What differs between two layers; settings that their type does not read are left out."""
    unread: tuple[str, ...] = ()
    kind = layer_types().get(first.type)
    if kind is not None and first.type == second.type:
        own = {kind.settings, *kind.other_settings}
        fields = LayerParameter.DESCRIPTOR.fields_by_name
        unread = tuple(name for name in fields if name.endswith("_param") and name not in own)
    yield from _fields(first, second, "", skip=("param", *unread))
    pairs = max(len(first.param), len(second.param))
    blank = type(first)().param.add()
    for index in range(pairs):
        ours = first.param[index] if index < len(first.param) else blank
        theirs = second.param[index] if index < len(second.param) else blank
        yield from _fields(ours, theirs, f"param[{index}].")


def _fields(
    first: Message, second: Message, prefix: str, skip: Sequence[str] = ()
) -> Iterator[str]:
    """What differs between two messages of one type, field by field."""
    if first == second:
        return
    spelled = _SPELLINGS.get(type(first))
    if spelled:
        others = spelled(second)
        for name, value in spelled(first).items():
            if value != others[name]:
                yield f"{prefix}{name}: {_show(value)} → {_show(others[name])}"
    for field in first.DESCRIPTOR.fields:
        name = field.name
        if name in skip or (spelled and name in _SPELLED):
            continue
        left, right = getattr(first, name), getattr(second, name)
        repeated = hasattr(left, "extend")
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            ours, theirs = (left, right) if repeated else ([left], [right])
            if list(ours) != list(theirs):
                yield f"{prefix}{name}: {_values(field, ours)} → {_values(field, theirs)}"
        elif repeated:
            if len(left) != len(right):
                yield f"{prefix}{name}: given {len(left)} → {len(right)} times"
            for index, (one, other) in enumerate(zip(left, right, strict=False)):
                yield from _fields(one, other, f"{prefix}{name}[{index}].")
        elif first.HasField(name) or second.HasField(name):
            yield from _fields(left, right, f"{prefix}{name}.")


def _values(field: Any, values: Sequence[Any]) -> str:
    if field.enum_type is not None:
        names = field.enum_type.values_by_number
        values = [names[value].name for value in values]
    return _show(values)


def _show(values: Sequence[Any]) -> str:
    return ", ".join(f"{v:.9g}" if isinstance(v, float) else str(v) for v in values) or "none"


# Fields that are written in several ways ---------------------------------------------------

_SPELLED = frozenset(
    f"{name}{suffix}"
    for name in ("kernel", "kernel_size", "stride", "pad", "dilation", "offset")
    for suffix in ("", "_h", "_w")
)


def _collapsed(values: Sequence[int], default: int) -> list[int]:
    """One value if all are the same, as most are."""
    return [next(iter(set(values)))] if len(set(values)) == 1 else list(values or [default])


def _convolution(param: ConvolutionParameter) -> dict[str, list[int]]:
    def per_axis(name: str, pair: str, default: int) -> list[int]:
        fields = (f"{pair}_h", f"{pair}_w")
        if any(param.HasField(field) for field in fields):
            return _collapsed([getattr(param, field) for field in fields], default)
        return _collapsed(getattr(param, name), default)

    return {
        "kernel_size": per_axis("kernel_size", "kernel", 0),
        "stride": per_axis("stride", "stride", 1),
        "pad": per_axis("pad", "pad", 0),
        "dilation": _collapsed(param.dilation, 1),
    }


def _pooling(param: PoolingParameter) -> dict[str, list[int]]:
    def per_axis(name: str, pair: str) -> list[int]:
        fields = (f"{pair}_h", f"{pair}_w")
        if any(param.HasField(field) for field in fields):
            return _collapsed([getattr(param, field) for field in fields], 0)
        return [getattr(param, name)]

    return {
        "kernel_size": per_axis("kernel_size", "kernel"),
        "stride": per_axis("stride", "stride"),
        "pad": per_axis("pad", "pad"),
    }


def _crop(param: CropParameter) -> dict[str, list[int]]:
    return {"offset": _collapsed(param.offset, 0)}


_SPELLINGS: dict[type[Message], Any] = {
    ConvolutionParameter: _convolution,
    PoolingParameter: _pooling,
    CropParameter: _crop,
}
