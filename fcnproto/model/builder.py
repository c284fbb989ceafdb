"""A small ONNX builder that layers write themselves with, so that they need not know onnx."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from fcnproto.model.file import Model
from fcnproto.types import INT_MAX, Dims, Floats


@dataclass(frozen=True)
class TitledArray:
    """A learned array and what a model calls it; layers that share it call it the same."""

    title: str
    array: Floats


class Writes(Protocol):
    """What writes itself in ONNX operators: a layer of a net."""

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Write the operators through `b`; give the value of each top."""
        ...


NAMELESS = "unnamed"
"""What a model calls a blob of Caffe's whose name is empty, which ONNX takes for none."""


class Builder:
    """Collects the nodes and tensors of one graph, layer by layer.

    Values are named strings. While a layer writes itself, its nodes are named after it, and
    `weight` and `array` mean its own learned arrays.
    """

    def __init__(self, opset: int, dims: Mapping[str, Dims]) -> None:
        self.opset = opset
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, np.ndarray[Any, Any]] = {}
        self._dims = dims
        self._taken: dict[str, int] = dict.fromkeys(dims, 1)  # and how many are like each name
        self._literals: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._titled: dict[str, int] = {}
        self._layer = ""
        self._arrays: Sequence[TitledArray] = ()
        self._writers: dict[str, object] = {}

    # What layers use ------------------------------------------------------------------------

    def dims(self, value: str) -> Dims:
        """The sizes of a bottom or top along its axes; None where they differ from run to run."""
        return self._dims[value] if value in self._dims else self.tensors[value].shape

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator with one output, and give that output's name."""
        (output,) = self.node_with(kind, inputs, 1, **attributes)
        return output

    def node_with(
        self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any
    ) -> list[str]:
        """Add an operator with several outputs, and give their names; None attributes are left out.

        An input of "" is one that is left out.
        """
        names = [self._fresh(f"{self._layer}/{kind}") for _ in range(outputs)]
        given = {name: value for name, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(kind, list(inputs), names, name="", **given))
        return names

    def writer(self, value: str) -> object:
        """The layer that made a bottom; None for the net's inputs."""
        return self._writers.get(value)

    def weight(self, index: int) -> str:
        """One of the layer's learned arrays, as it is."""
        return self.tensor(self._arrays[index].title, self._arrays[index].array)

    def array(self, index: int) -> Floats:
        """The numbers of one of the layer's learned arrays."""
        return self._arrays[index].array

    @property
    def weights(self) -> int:
        """How many learned arrays the layer has."""
        return len(self._arrays)

    def tensor(self, name: str, array: np.ndarray[Any, Any]) -> str:
        """A named tensor of the graph; the same name means the same tensor."""
        if name not in self.tensors:
            self._taken.setdefault(name, 1)
            self.tensors[name] = np.asarray(array, order="C")
        return name

    def own(self, what: str, array: np.ndarray[Any, Any]) -> str:
        """A tensor derived from the layer's weights, named after the layer and what it is."""
        return self.tensor(self._fresh(f"{self._layer}/{what}"), array)

    def literal(self, values: Any, dtype: Any = np.float32) -> str:
        """A small constant; the same values are one tensor in the whole graph."""
        array = np.asarray(values, dtype)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._literals:
            text = "_".join(str(v) for v in array.ravel()[:6])
            self._literals[key] = self.tensor(self._fresh(f"{array.dtype.name}_{text}"), array)
        return self._literals[key]

    def attribute(self, values: Any, dtype: Any = np.float32) -> TensorProto:
        """Numbers as an attribute that is a tensor."""
        return numpy_helper.from_array(np.asarray(values, dtype))

    def ints(self, values: Sequence[int]) -> str:
        """A constant list of int64, as shapes, axes, starts and ends are given."""
        return self.literal(values, np.int64)

    def sizes(self, value: str, start: int, end: int) -> str:
        """The sizes of a value along the axes from start to before end, as a list of int64.

        A constant where they are all fixed, and looked up at run time where they are not.
        """
        known = self._dims.get(value, (None,) * end)[start:end]
        fixed = [size for size in known if size is not None]
        if len(fixed) == end - start:
            return self.ints(fixed)
        if self.opset >= 15:
            return self.node("Shape", value, start=start, end=end)
        return self.node("Slice", self.node("Shape", value), self.ints([start]), self.ints([end]))

    def reduce(self, kind: str, value: str, axes: Sequence[int], keep: bool = True) -> str:
        """A reduction such as ReduceMax; axes became an input at opset 18 (ReduceSum's at 13)."""
        if self.opset >= 18 or kind == "ReduceSum":
            return self.node(kind, value, self.ints(axes), keepdims=int(keep))
        return self.node(kind, value, axes=list(axes), keepdims=int(keep))

    def floats(self, value: str) -> str:
        """Any numbers as float32, as blobs are."""
        return self.node("Cast", value, to=TensorProto.FLOAT)

    def indices(self, value: str) -> str:
        """Floats as int64, cut off towards 0 as in C."""
        return self.node("Cast", value, to=TensorProto.INT64)

    def join(self, *parts: str | Sequence[int]) -> str:
        """One list of int64 from several, given as values or as numbers; empty ones fall out."""
        lists: list[str | list[int]] = []
        for part in parts:
            if not part:
                continue
            if isinstance(part, str):
                lists.append(part)
            elif lists and isinstance(lists[-1], list):
                lists[-1] += part
            else:
                lists.append(list(part))
        values = [part if isinstance(part, str) else self.ints(part) for part in lists]
        return values[0] if len(values) == 1 else self.node("Concat", *values, axis=0)

    def reshape(self, value: str, sizes: Sequence[int], rest: int | None = None) -> str:
        """Reshape to `sizes`, then the value's own axes from `rest` on.

        In `sizes` 0 is the value's size at that place, and one -1 what is left over.
        """
        sizes, dims = list(sizes), self.dims(value)
        own = list(dims[rest:]) if rest is not None else []
        if own.count(None) == 1 and -1 not in sizes:
            own[own.index(None)] = -1
        fixed = [size for size in own if size is not None]
        if len(fixed) == len(own):
            return self.node("Reshape", value, self.ints([*sizes, *fixed]))
        assert rest is not None
        shape = self.join(sizes, self.sizes(value, rest, len(dims)))
        return self.node("Reshape", value, shape)

    def four_axes(self, value: str) -> str:
        """A value as N × C × H × W, which older layers make of any blob: axes of 1 at the end."""
        missing = range(len(self.dims(value)), 4)
        return self.node("Unsqueeze", value, self.ints(missing)) if missing else value

    def per_channel(self, index: int, rank: int) -> str:
        """A weight with a number for each channel, or for all, to combine with `rank` axes."""
        array = self.array(index)
        if array.ndim == 0 or (array.ndim == 1 and rank == 2):
            return self.weight(index)
        return self.own(str(index), array.reshape(-1, *[1] * (rank - 2)))

    def cropped(self, value: str, begin: int, end: int) -> str:
        """N × C × H × W without its first `begin` and last `end` rows and columns. ONNX: Slice."""
        ends = self.ints([-end if end else INT_MAX] * 2)
        return self.node("Slice", value, self.ints([begin] * 2), ends, self.ints([2, 3]))

    def padded(
        self,
        value: str,
        axes: range,
        begins: str | Sequence[int],
        ends: str | Sequence[int],
        fill: float = 0,
    ) -> str:
        """A value with so many times `fill` around its last axes. ONNX: Pad.

        It names the axes where it can: else onnxruntime makes the padding one of the operator that
        follows, which for an average on a GPU is something else.
        """
        filling = self.literal(fill) if fill else ""
        if self.opset >= 18:
            pads = self.join(begins, ends)
            return self.node("Pad", value, pads, filling, self.ints(axes))
        others = [0] * axes.start
        pads = self.join(others, begins, others, ends)
        return self.node("Pad", value, pads, *filter(None, [filling]))

    def resize(self, value: str, sizes: str, **attributes: str) -> str:
        """N × C × H × W at a new height and width. ONNX: Resize, which has axes since opset 18."""
        if self.opset >= 18:
            return self.node("Resize", value, "", "", sizes, axes=[2, 3], **attributes)
        sizes = self.join(self.sizes(value, 0, 2), sizes)
        return self.node("Resize", value, "", "", sizes, **attributes)

    def parts(self, value: str, count: int, axis: int) -> list[str]:
        """A value cut along an axis into so many equal parts."""
        outputs = count if self.opset >= 18 else None  # earlier it is as many as there are names
        return self.node_with("Split", [value], count, axis=axis, num_outputs=outputs)

    def scan(
        self,
        step: Callable[[Sequence[str], Sequence[str]], tuple[Sequence[str], Sequence[str]]],
        states: Sequence[str],
        sequences: Sequence[str],
    ) -> tuple[list[str], list[str]]:
        """Walk along the first axis of float sequences, passing states from step to step.

        `step` writes one step: it is given the names of the states before it and of its slices of
        the sequences, and gives those of the states after it and of its outputs. Besides them it
        may read tensors of the graph only. The result is the last states and the outputs of all
        steps, stacked. ONNX: Scan.
        """
        outer, self.nodes = self.nodes, []
        before = [self._fresh(f"{self._layer}/state") for _ in states]
        slices = [self._fresh(f"{self._layer}/step") for _ in sequences]
        after, outputs = (list(values) for values in step(before, slices))
        outputs = [
            self.node("Identity", value) if value in after else value for value in outputs
        ]  # a graph may not give one value twice
        for operator in self.nodes:
            operator.name = self._fresh(f"{self._layer}/{operator.op_type}", self._titled)
        inputs, results = (
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
            for names in ([*before, *slices], [*after, *outputs])
        )
        body = helper.make_graph(self.nodes, f"{self._layer}/step", inputs, results)
        self.nodes = outer
        made = self.node_with(
            "Scan",
            [*states, *sequences],
            len(after) + len(outputs),
            body=body,
            num_scan_inputs=len(sequences),
        )
        return made[: len(after)], made[len(after) :]

    def either(
        self,
        condition: str,
        then: Callable[[], str],
        otherwise: Callable[[], str],
        dims: Dims,
    ) -> str:
        """A value that is computed in one of two ways, which is decided at run time. ONNX: If.

        Each way writes itself and gives its value, which it must have computed; `dims` are its.
        """
        outer, branches = self.nodes, []
        for write, title in ((then, "then"), (otherwise, "otherwise")):
            self.nodes = []
            value = helper.make_tensor_value_info(write(), TensorProto.FLOAT, dims)
            for operator in self.nodes:
                operator.name = self._fresh(f"{self._layer}/{operator.op_type}", self._titled)
            branches.append(helper.make_graph(self.nodes, f"{self._layer}/{title}", [], [value]))
        self.nodes = outer
        return self.node("If", condition, then_branch=branches[0], else_branch=branches[1])

    # What the exporter uses -----------------------------------------------------------------

    def write(
        self,
        layer: Writes,
        title: str,
        tops: Sequence[str],
        bottoms: Sequence[str],
        arrays: Sequence[TitledArray],
    ) -> list[str]:
        """Have a layer write itself as `title`, and give the values of its tops.

        Its nodes have that title, its arrays their own. A top that the layer computes is called as
        its blob; one that is merely a bottom stays that.
        """
        self._layer, self._arrays = title, arrays
        first = len(self.nodes)
        given = list(layer.onnx(self, bottoms))
        written = self.nodes[first:]
        made = {output for operator in written for output in operator.output}
        names = {value: top for top, value in zip(tops, given, strict=True) if value in made}
        rename(written, names)
        for operator in written:
            is_main = given[:1] and names.get(given[0], given[0]) in operator.output
            own = title if is_main else f"{title}/{operator.op_type}"
            operator.name = self._fresh(own, self._titled)
        values = [names.get(value, value) for value in given]
        self._writers |= {value: layer for value in values if value not in bottoms}
        return values

    def stand_beside(self, title: str) -> None:
        """Name what is written next after `title`, because it is no layer's."""
        self._layer, self._arrays = title, ()

    def copy(self, value: str, name: str) -> None:
        """Give a value a second name; needed only where an input is an output too."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=name))

    def _fresh(self, name: str, taken: dict[str, int] | None = None) -> str:
        """A name that no value has yet, like `name`."""
        taken = self._taken if taken is None else taken
        candidate = name
        while candidate in taken:
            taken[name] += 1
            candidate = f"{name}_{taken[name]}"
        taken[candidate] = 1
        return candidate


def unused(name: str, taken: Container[str]) -> str:
    """The name, or one like it, that is not taken."""
    while name in taken:
        name += "'"
    return name


def rename(nodes: Iterable[NodeProto], names: Mapping[str, str]) -> None:
    """Call values by other names wherever the nodes, and graphs within them, use them."""
    for node in nodes:
        for attribute in node.attribute:
            rename(attribute.g.node, names)
        for values in (node.input, node.output):
            for index, value in enumerate(values):
                if value in names:
                    values[index] = names[value]


def model_of(
    builder: Builder,
    name: str,
    inputs: Sequence[tuple[str, int, Sequence[int | str]]],
    outputs: Sequence[tuple[str, int, Sequence[int | str]]],
    metadata: Mapping[str, str],
    producer: tuple[str, str],
) -> Model:
    """A model of what was built; inputs and outputs are (name, element type, dimensions)."""
    graph = helper.make_graph(
        builder.nodes,
        name,
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
    )
    opset = helper.make_operatorsetid("", builder.opset)
    model = helper.make_model(
        graph,
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name=producer[0],
        producer_version=producer[1],
    )
    helper.set_model_props(model, dict(metadata))
    return Model(model, dict(builder.tensors))
