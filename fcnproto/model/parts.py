"""Parts of ONNX models: what computes some of their values, and convolutions in several parts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from fcnproto.errors import FcnprotoError, Problem


def part(model: ModelProto, inputs: Collection[str], outputs: Collection[str]) -> ModelProto:
    """What computes some values of a model from others, and from those inputs that it still needs.

    Values that are neither inputs nor outputs of the model must be float32, N × C × H × W. Raises
    FcnprotoError if there are no such values, or a name is no text.
    """
    try:
        return _part(model, inputs, outputs)
    except UnicodeDecodeError as error:
        raise FcnprotoError("a name in the model is not UTF-8") from error


def _part(model: ModelProto, inputs: Collection[str], outputs: Collection[str]) -> ModelProto:
    graph = model.graph
    infos = {info.name: info for info in (*graph.input, *graph.output, *graph.value_info)}
    needed = {*outputs}
    nodes: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output) - {*inputs}:
            nodes.insert(0, node)
            needed.update(read_by(node))
    there = _values(graph)
    unknown = [name for name in (*inputs, *outputs) if name not in there]
    if unknown:
        raise FcnprotoError(Problem(f"the model has no values {', '.join(map(str, unknown))}"))

    def infos_of(names: Iterable[str]) -> list[ValueInfoProto]:
        return [
            infos.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4)
            for name in names
        ]

    kept = [info.name for info in graph.input if info.name in needed and info.name not in inputs]
    result = ModelProto()
    result.CopyFrom(model)
    result.graph.CopyFrom(
        helper.make_graph(
            nodes,
            graph.name,
            infos_of((*inputs, *kept)),
            infos_of(outputs),
            [tensor for tensor in graph.initializer if tensor.name in needed],
        )
    )
    return result


def reads_only_sizes(model: ModelProto, inputs: Collection[str]) -> bool:
    """Whether a model's outputs depend on nothing but the sizes of some of its inputs."""
    reached = {*inputs}
    for node in model.graph.node:
        if node.op_type != "Shape" and reached.intersection(read_by(node)):
            reached.update(node.output)
    return not reached.intersection(output.name for output in model.graph.output)


def read_by(node: NodeProto) -> set[str]:
    """The values that a node reads, and that graphs inside it read from outside."""
    read = {*node.input} - {""}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            inside = set().union(*map(read_by, graph.node))
            read |= inside - _values(graph)
            read |= {output.name for output in graph.output} - _values(graph)
    return read


def _values(graph: GraphProto) -> set[str]:
    return {
        *(each.name for each in graph.input),
        *(each.name for each in graph.initializer),
        *(output for node in graph.node for output in node.output),
    }


# Large convolutions -----------------------------------------------------------------------------


def divided(model: ModelProto, most: int) -> ModelProto:
    """The same model with large convolutions made of several, whose outputs are concatenated.

    Kernels that lie in a file and are more than `most` bytes are divided by output channels, each
    part by its place in that file. onnxruntime holds the kernels of a convolution four times while
    it lays them in blocks, so that the largest decides what loading takes.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        count = _parts(node, tensors, most)
        if count == 1:
            nodes.append(node)
            continue
        outputs = [f"{node.output[0]}/part {index}" for index in range(count)]
        for index, output in enumerate(outputs):
            operands = [_part_of(tensors[name], index, count) for name in node.input[1:]]
            for tensor in operands:
                if tensor.name not in tensors:
                    tensors[tensor.name] = tensor
            one = NodeProto()
            one.CopyFrom(node)
            one.name = f"{node.name}/part {index}"
            one.ClearField("input")
            one.ClearField("output")
            one.input.extend([node.input[0], *(tensor.name for tensor in operands)])
            one.output.append(output)
            nodes.append(one)
        nodes.append(helper.make_node("Concat", outputs, node.output[:1], node.name, axis=1))
    read = set().union(*map(read_by, nodes)) | {output.name for output in model.graph.output}
    result = ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(each for name, each in tensors.items() if name in read)
    return result


_BLOCK = 16  # channels that onnxruntime lays side by side, at most


def _parts(node: NodeProto, tensors: Mapping[str, TensorProto], most: int) -> int:
    """Into how many convolutions a node is divided, each of whole blocks of channels."""
    operands = [tensors.get(name) for name in node.input[1:]]
    if node.op_type != "Conv" or not all(map(_is_divisible, operands)):
        return 1
    if any(each.name == "group" and each.i != 1 for each in node.attribute):
        return 1
    kernels = tensors[node.input[1]]
    if not kernels.external_data:
        return 1
    count, size = 1, int(_place(kernels)["length"])
    while size > most * count and kernels.dims[0] % (2 * count * _BLOCK) == 0:
        count *= 2
    return count


def _is_divisible(tensor: TensorProto | None) -> bool:
    return tensor is not None and bool(tensor.raw_data or "length" in _place(tensor))


def _part_of(tensor: TensorProto, index: int, count: int) -> TensorProto:
    """One of `count` parts along the first axis of a tensor."""
    part = TensorProto()
    part.CopyFrom(tensor)
    part.name = f"{tensor.name}/part {index} of {count}"
    part.dims[0] //= count
    if tensor.raw_data:
        length = len(tensor.raw_data) // count
        part.raw_data = tensor.raw_data[index * length : (index + 1) * length]
        return part
    place = _place(tensor)
    length = int(place["length"]) // count
    place["offset"] = str(int(place.get("offset", 0)) + index * length)
    place["length"] = str(length)
    part.ClearField("external_data")
    for key, value in place.items():
        part.external_data.add(key=key, value=value)
    return part


def _place(tensor: TensorProto) -> dict[str, str]:
    """Where a tensor's numbers lie: location, offset and length."""
    return {entry.key: entry.value for entry in tensor.external_data}
