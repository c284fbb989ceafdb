"""A net in PyTorch: its learned arrays, and passes through its layers.

Which gradients are computed is Caffe's Net::Init: none for an array with lr_mult 0, none past a
bottom that does not propagate down, all with force_backward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fcnproto.errors import LayerError, NetError, Problem, WeightsError, nearest, raise_if_any
from fcnproto.layers import fillers
from fcnproto.layers.base import Layer, Torch, Weight, valued
from fcnproto.net.graph import Node, State, as_net, build
from fcnproto.net.shapes import Place, Shapes, infer
from fcnproto.proto.caffe_pb2 import NetParameter
from fcnproto.proto.source import NetSource
from fcnproto.training.passes import Content, Overwritten, Parameter, Pass, Use, goes_back
from fcnproto.types import Shape, show
from fcnproto.weights import Weights
from fcnproto.weights.caffemodel import LARGEST_MESSAGE

Feed = Mapping[str, npt.NDArray[np.generic]]
"""An array for each blob that a net takes in, by the blob's name."""


class Net:
    """A net that can be run and whose arrays learn; it is bound to one device.

    `shapes` are those of blobs fed in, where the net does not say them; images of other sizes may
    follow. `seed` seeds the fillers and whatever is random in a pass.

    Raises NetError for what Caffe would refuse and, all at once, for layers that have no PyTorch
    form.
    """

    def __init__(
        self,
        source: NetSource,
        state: State,
        *,
        shapes: Mapping[str, Shape] = MappingProxyType({}),
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        self.graph = build(source, state)
        self.device = torch.device(device)
        self.seed = seed
        self._name = source.net.name
        self._forced = source.net.force_backward
        self._check_forms()
        self._fed = {
            self.graph.blobs[top]: top
            for node in self.graph.nodes
            if not node.bottoms
            for top in node.tops
        }
        self._known: dict[str, Shape] = {}
        self._inferred: dict[frozenset[tuple[str, Shape]], Shapes] = {}
        inferred = self._infer(shapes)
        self._check_known(inferred)
        self.parameters = self._fill(inferred)
        self._uses = self._tie(inferred)
        self._memory: list[dict[str, Any]] = [{} for _ in self.graph.nodes]
        self._memories = self._find_memories()
        self._courses = [list(self._course(index)) for index in range(len(self.graph.nodes))]
        self._last = {
            blob: index
            for index, node in enumerate(self.graph.nodes)
            for blob in (*node.bottoms, *self._courses[index])
        }

    # Arrays -----------------------------------------------------------------------------------

    @property
    def weights(self) -> Weights:
        """A copy of every layer's learned arrays, shared ones in each layer that has them."""
        weights: Weights = {}
        for index, node in enumerate(self.graph.nodes):
            if self._uses[index] and node.layer.name not in weights:
                arrays = [tensor.detach().cpu().numpy() for tensor in self._tensors(index)]
                weights[node.layer.name] = [array.copy() for array in arrays]
        return weights

    def load(self, weights: Mapping[str, Sequence[npt.NDArray[np.float32]]]) -> list[str]:
        """Take arrays over by their layers' names (net.cpp, CopyTrainedLayersFrom).

        Layers that the net does not have are passed over. Gives the layers whose arrays stay as
        they were; raises WeightsError where numbers of arrays or shapes differ.
        """
        left: list[str] = []
        problems: list[Problem] = []
        pairs: list[tuple[Tensor, npt.NDArray[np.float32]]] = []
        named: set[str] = set()
        owned: set[int] = set()
        for index, node in enumerate(self.graph.nodes):
            own, name = self._tensors(index), node.layer.name
            arrays = weights.get(name, ())
            shared = {use.parameter for use in self._uses[index]} <= owned
            owned |= {use.parameter for use in self._uses[index]}
            if not own or name in named:
                continue
            named.add(name)
            if not arrays:
                left += [] if shared else [name]
            elif len(arrays) != len(own):
                found = f"{len(arrays)} in the weights and {len(own)} in the net"
                problems.append(self.graph.problem(node, f"its arrays differ in number: {found}"))
            else:
                problems += self._misfits(node, own, arrays)
                pairs += zip(own, arrays, strict=True)
        raise_if_any(WeightsError, problems)
        with torch.no_grad():
            for tensor, array in pairs:
                tensor.copy_(torch.tensor(np.asarray(array, np.float32)))
        return left

    def share(self, other: Net) -> None:
        """Use another net's arrays by their layers' names (net.cpp, ShareTrainedLayersWith)."""
        theirs: dict[str, list[int]] = {}
        for index, node in enumerate(other.graph.nodes):
            theirs.setdefault(node.layer.name, [use.parameter for use in other._uses[index]])
        for index, node in enumerate(self.graph.nodes):
            given = theirs.get(node.layer.name, [])
            for use, number in zip(self._uses[index], given, strict=False):
                tensor = other.parameters[number].tensor
                if tensor.numel() != self.parameters[use.parameter].tensor.numel():
                    raise NetError(
                        self.graph.problem(node, "its arrays differ from those of the trained net")
                    )
                old = self.parameters[use.parameter]
                self.parameters[use.parameter] = Parameter(
                    old.title, tensor.detach(), old.lr_mult, old.decay_mult
                )

    def message(self) -> NetParameter:
        """The net as Caffe saves it, without its arrays: phases told, losses with their weights."""
        net = as_net(self.graph)
        for node, layer in zip(self.graph.nodes, net.layer, strict=True):
            if not layer.loss_weight:
                layer.loss_weight.extend(_loss_weights(node))
        return net

    def shape(self, blob: str) -> Shape | None:
        """The shape of a version of a blob, for what was fed last."""
        return self._shapes.blobs.get(blob)

    # Passes -----------------------------------------------------------------------------------

    def take(self, feed: Feed) -> dict[str, Tensor]:
        """A feed as tensors on the device, by the versions of blobs that the graph has.

        Raises NetError where a blob is missing or unknown, has a shape that the net cannot take,
        or holds labels of classes that a loss does not have.
        """
        problems = list(self._strangers(feed))
        raise_if_any(NetError, problems)
        arrays = {self._fed[name]: np.asarray(array, np.float32) for name, array in feed.items()}
        shapes = {name: array.shape for name, array in arrays.items()}
        if shapes != self._known:
            self._infer({self.graph.blobs[name]: shape for name, shape in shapes.items()})
            self._known = shapes
        raise_if_any(NetError, self.label_problems(feed))
        return {name: torch.tensor(array).to(self.device) for name, array in arrays.items()}

    def run(self, values: Mapping[str, Tensor], *draw: int, keep: Sequence[str] = ()) -> Pass:
        """One pass over what `take` gave; `draw` are numbers that, with the seed, decide chance.

        The blobs kept are the net's outputs and those named in `keep`. Raises NetError naming the
        layer that could not compute.
        """
        rng = np.random.default_rng([self.seed, *draw])
        generator = torch.Generator(self.device)
        generator.manual_seed(int(rng.integers(2**62)))
        blobs = dict(values)
        contents: dict[int, Tensor] = {}
        wanted = {*self.graph.outputs, *keep}
        loss = torch.zeros((), device=self.device)
        for index, node in enumerate(self.graph.nodes):
            if any(top not in blobs for top in node.tops) or not node.tops:
                tools = Torch(
                    torch, torch.nn.functional, self.device, generator, rng, self._memory[index]
                )
                tops = self._compute(index, tools, blobs, contents)
                blobs.update(zip(node.tops, tops, strict=True))
                for top in node.tops:
                    if top in self._contested:
                        contents[self._memories[top]] = blobs[top].detach()
            for weight, top in zip(_loss_weights(node), node.tops, strict=False):
                if weight:
                    loss = loss + weight * blobs[top].sum()
            for blob in {*node.bottoms, *node.tops, *self._courses[index]} - wanted:
                if self._last.get(blob, -1) <= index:
                    del blobs[blob]
        return Pass(loss, {name: blobs[name] for name in wanted if name in blobs})

    def mean_loss(self) -> float | None:
        """The last pass's loss for each label that counts, over all losses of labels.

        Losses that are not divided by their labels are, for this; None if there is no such loss.
        """
        weighed = [
            (sum(_loss_weights(node)), self._memory[index]["mean"])
            for index, node in enumerate(self.graph.nodes)
            if "mean" in self._memory[index]
        ]
        if not weighed:
            return None
        return sum(weight * float(mean) for weight, mean in weighed)

    def label_problems(self, feed: Feed) -> Iterator[Problem]:
        """Labels fed in of classes that their loss does not have, and that it does not ignore."""
        for node in self.graph.nodes:
            blob = self.graph.blobs[node.bottoms[1]] if len(node.bottoms) > 1 else ""
            if blob not in feed or node.bottoms[1] != self._fed.get(blob):
                continue
            shapes = [shape for name in node.bottoms if (shape := self._shapes.blobs.get(name))]
            classes = node.layer.classes(shapes) if len(shapes) == len(node.bottoms) else None
            if classes is None:
                continue
            labels = np.asarray(feed[blob], np.float32)
            ignored = node.layer.ignored_label
            counted = labels if ignored is None else labels[np.trunc(labels) != ignored]
            wrong = counted[~((counted > -1) & (counted < classes))]
            if wrong.size:
                hint = "no ignore_label" if ignored is None else f"ignore_label {ignored}"
                yield self.graph.problem(
                    node,
                    f"'{blob}' holds the label {wrong.flat[0]:g}, but there are {classes} classes,"
                    f" 0 to {classes - 1}, and {hint}",
                )

    # Building ---------------------------------------------------------------------------------

    def _check_forms(self) -> None:
        problems = [
            self.graph.problem(node, f"layers of type {node.layer.type} cannot be trained here")
            for node in self.graph.nodes
            if type(node.layer).torch is Layer.torch and not node.layer.feeds
        ]
        raise_if_any(NetError, problems)

    def _infer(self, shapes: Mapping[str, Shape]) -> Shapes:
        """Shapes of everything, given those of blobs fed in by name."""
        key = frozenset(shapes.items())
        if key not in self._inferred:
            if len(self._inferred) >= _MOST_SHAPES:
                self._inferred.clear()
            given = {self._fed.get(name, name): shape for name, shape in shapes.items()}
            self._inferred[key] = infer(self.graph, given)
        self._shapes = self._inferred[key]
        return self._shapes

    def _check_known(self, inferred: Shapes) -> None:
        unknown = [blob for blob, top in self._fed.items() if inferred.blobs[top] is None]
        if unknown:
            names = ", ".join(f"'{blob}'" for blob in unknown)
            raise NetError(
                Problem(f"the shapes of {names} are not known: give them", self.graph.path)
            )

    def _fill(self, inferred: Shapes) -> list[Parameter]:
        """New arrays, each owned by the layer that has it first."""
        size = 4 * sum(
            prod(inferred.weights[place.node][place.index].shape)
            for place, owner in inferred.owners.items()
            if place == owner
        )
        if size > LARGEST_MESSAGE:
            message = f"it has {size / 2**30:.1f} GiB of weights, and a snapshot holds 2 GiB"
            raise NetError(Problem(message, self.graph.path))
        rng = np.random.default_rng(self.seed)
        parameters: list[Parameter] = []
        self._numbers: dict[Place, int] = {}
        for place, owner in inferred.owners.items():
            if place != owner:
                continue
            weight = inferred.weights[place.node][place.index]
            array = fillers.start(weight, rng)
            rates = self._rates(place, inferred.owners)
            tensor = torch.tensor(array).to(self.device)
            title = f"{self.graph.nodes[place.node].title}/{place.index}"
            self._numbers[place] = len(parameters)
            parameters.append(Parameter(title, tensor, rates["lr_mult"], rates["decay_mult"]))
        return parameters

    def _rates(self, owner: Place, owners: Mapping[Place, Place]) -> dict[str, float]:
        """An array's rates: what any layer that shares it says, else 1 (net.cpp, AppendParam)."""
        rates = {"lr_mult": 1.0, "decay_mult": 1.0}
        for place, its_owner in owners.items():
            if its_owner == owner:
                spec = self.graph.nodes[place.node].layer.param_spec(place.index)
                rates |= {name: getattr(spec, name) for name in rates if spec.HasField(name)}
        return rates

    def _tie(self, inferred: Shapes) -> list[list[Use]]:
        """Each node's uses of arrays."""
        uses: list[list[Use]] = [[] for _ in self.graph.nodes]
        for place, owner in inferred.owners.items():
            layer = self.graph.nodes[place.node].layer
            learns = self._forced or layer.param_spec(place.index).lr_mult != 0
            weight: Weight = inferred.weights[place.node][place.index]
            use = Use(self._numbers[owner], weight.shape, learns)
            uses[place.node].append(use)
            if learns:
                self.parameters[use.parameter].tensor.requires_grad_()
        return uses

    # Running ----------------------------------------------------------------------------------

    def _tensors(self, index: int) -> list[Tensor]:
        """A node's arrays; those that it does not learn from are cut off from their gradients."""
        tensors = []
        for use in self._uses[index]:
            tensor = self.parameters[use.parameter].tensor
            tensor = tensor if use.learns else tensor.detach()
            tensors.append(tensor if tensor.shape == use.shape else tensor.view(use.shape))
        return tensors

    def _course(self, index: int) -> Iterator[str]:
        """The way that gradients take from each bottom of a node.

        Where another blob in the same memory has been overwritten, its numbers are read, but the
        gradient goes to the blob that the bottom names.
        """
        node = self.graph.nodes[index]
        for name, bottom in zip(node.layer.proto.bottom, node.bottoms, strict=True):
            own = [
                top
                for before in self.graph.nodes[:index]
                for top in before.tops
                if self.graph.blobs[top] == name
            ]
            yield bottom if self.graph.blobs[bottom] == name else own[-1]

    def _find_memories(self) -> dict[str, int]:
        """Which memory each version of a blob lies in, and which of them are written twice.

        An in-place layer writes where its bottom lies, and some layers hand on their bottom's.
        """
        memories: dict[str, int] = {}
        self._contested: set[str] = set()
        for node in self.graph.nodes:
            for position, top in enumerate(node.tops):
                at = node.bottoms[position : position + 1]
                in_place = [b for b in at if self.graph.blobs[b] == self.graph.blobs[top]]
                if in_place:
                    memories[top] = memories[in_place[0]]
                    same = {name for name, memory in memories.items() if memory == memories[top]}
                    self._contested |= same
                elif node.layer.shares_memory and node.bottoms:
                    memories[top] = memories[node.bottoms[0]]
                else:
                    memories[top] = len(memories)
        return memories

    def _compute(
        self,
        index: int,
        tools: Torch,
        blobs: Mapping[str, Tensor],
        contents: Mapping[int, Tensor],
    ) -> Sequence[Tensor]:
        node = self.graph.nodes[index]
        bottoms = [
            blobs[bottom] if bottom == course else valued(blobs[bottom], blobs[course])
            for bottom, course in zip(node.bottoms, self._courses[index], strict=True)
        ]
        propagates = list(node.layer.proto.propagate_down) or [True] * len(node.bottoms)
        bottoms = [
            bottom if down or self._forced else bottom.detach()
            for bottom, down in zip(bottoms, propagates, strict=True)
        ]
        try:
            if len(node.tops) == 1 and node.tops[0] in self._contested and goes_back(node.layer):
                in_place = self._memories[node.bottoms[0]] == self._memories[node.tops[0]]
                memory = Content(contents, self._memories[node.tops[0]], in_place)
                top = Overwritten.apply(  # type: ignore[no-untyped-call]
                    bottoms[0], node.layer, tools, memory
                )
                return [top]
            return node.layer.torch(tools, bottoms, self._tensors(index))
        except LayerError as error:
            raise NetError(
                *(self.graph.problem(node, problem.message) for problem in error.problems)
            ) from error
        except (RuntimeError, IndexError) as error:  # what PyTorch raises, of memory too
            line = (str(error).splitlines() or [""])[0]
            raise NetError(self.graph.problem(node, f"PyTorch: {line}")) from error

    def _strangers(self, feed: Feed) -> Iterator[Problem]:
        """Blobs that are fed in but not taken, and the reverse."""
        for name in feed:
            if name not in self._fed:
                message = f"'{name}' is fed, but the net takes no such blob"
                yield Problem(message + nearest(name, list(self._fed)), self.graph.path)
        for name, top in self._fed.items():
            node = self.graph.producers[top]
            if name not in feed and type(node.layer).torch is Layer.torch:
                yield self.graph.problem(node, f"its blob '{name}' is not fed")

    def _misfits(
        self, node: Node, own: Sequence[Tensor], arrays: Sequence[npt.NDArray[np.float32]]
    ) -> Iterator[Problem]:
        for number, (tensor, array) in enumerate(zip(own, arrays, strict=True)):
            if tuple(tensor.shape) != array.shape:
                yield self.graph.problem(
                    node,
                    f"its array {number} is {show(tuple(tensor.shape))} in the net and"
                    f" {show(array.shape)} in the weights; fcnproto convert-weights makes them fit",
                )


_MOST_SHAPES = 256  # sizes of images of which is remembered what follows from them


def caffes_precision() -> AbstractContextManager[None]:
    """Whole float32 on GPUs, by algorithms that give the same numbers each time."""
    context: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False
    )
    return context


def _loss_weights(node: Node) -> list[float]:
    """What each top counts in the loss; a loss layer's first counts 1 by default."""
    return list(node.layer.proto.loss_weight) or [1.0] * int(node.layer.is_loss)
