"""From a net and its weights to a model that says what it is: what `export-onnx` does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from fcnproto.crf.mean_field import OnScores
from fcnproto.errors import NetError, Problem, Severity, WeightsError, raise_if_any
from fcnproto.exporting.cost import Cost, cost
from fcnproto.exporting.cutting import Asked, cut, for_inference, obstacles
from fcnproto.exporting.filled import Filled, with_weights
from fcnproto.exporting.inference import Inference, inference
from fcnproto.exporting.mean_field import without_mean_fields
from fcnproto.exporting.own_data import own_data
from fcnproto.exporting.rewrite import Optimize, optimized
from fcnproto.exporting.tiling import stages, tiling
from fcnproto.exporting.write import DEFAULT_OPSET, Interface, Result, write
from fcnproto.model import metadata
from fcnproto.model.file import Model
from fcnproto.model.given import Given
from fcnproto.model.metadata import Blobs, Metadata
from fcnproto.model.parts import part, reads_only_sizes
from fcnproto.model.tiles import Tiling
from fcnproto.net.graph import Graph, Node, assemble
from fcnproto.net.unsound import unsound_settings
from fcnproto.proto.source import NetSource
from fcnproto.surgery import fit as surgery
from fcnproto.surgery.fit import Action, WeightSource
from fcnproto.weights import Weights, not_finite, npz

ENDINGS = (".npz", ".caffemodel", ".caffemodel.h5", ".safetensors")
"""The weights of net.prototxt lie beside it as net with one of these, the first that is there."""

COLOUR_CHANNELS = 3


@dataclass(frozen=True)
class Exported:
    """A model, what there is to say of it, and what it costs without and with its rewrites."""

    model: Model
    notes: tuple[Problem, ...]
    before: Cost
    after: Cost


def weights_beside(net: str) -> Path | None:
    """The weight file that lies beside a prototxt under its stem, or in . for a net of the zoo.

    Arrays that verify compares with, in/<blob> and out/<blob>, are none.
    """
    stem = Path(net).with_suffix("")
    candidates = [stem.with_name(stem.name + ending) for ending in ENDINGS]
    there = (path for path in candidates if path.is_file())
    return next((path for path in there if not npz.is_reference(path)), None)


@dataclass(frozen=True)
class Prepared:
    """A net cut for inference, with its layers' arrays, and what there is to say of both."""

    filled: Filled
    notes: tuple[Problem, ...]
    mean_fields: Mapping[str, OnScores] = field(default_factory=dict)
    """The mean fields that follow its scores, by the scores' blobs."""

    @property
    def inference(self) -> Inference:
        """The net, with the sizes that it is open to; its shapes have been inferred once."""
        return self.filled.inference

    @property
    def thresholds(self) -> dict[str, float]:
        """The outputs of one channel, with the number above which each means class 1."""
        return {
            blob: self._decided(blob)[0].layer.decides_at
            for blob, sizes in self.inference.outputs.items()
            if len(sizes) == 4
            and sizes[1] == 1
            and sizes[2:] != (1, 1)  # one number for the whole image
            and blob not in self.label_maps
            and blob not in self.no_scores
        }

    @cached_property
    def label_maps(self) -> dict[str, int]:
        """The outputs that number the classes themselves, with how many there are."""
        found = {
            blob: self._decided(blob)[0]
            for blob, sizes in self.inference.outputs.items()
            if len(sizes) == 4
        }
        dims = self.inference.dims
        return {
            blob: classes
            for blob, node in found.items()
            if node.bottoms
            and (classes := node.layer.numbered_classes([dims[each] for each in node.bottoms]))
        }

    @cached_property
    def no_scores(self) -> tuple[str, ...]:
        """The outputs whose channels are neither scores nor label maps."""
        decided = {blob: self._decided(blob) for blob in self.inference.outputs}
        return tuple(
            blob
            for blob, (node, top) in decided.items()
            if blob not in self.label_maps and not node.layer.may_score(top)
        )

    def _decided(self, blob: str) -> tuple[Node, int]:
        """The layer that makes the numbers of a blob, which others may have moved since, and which
        of its tops has them.
        """
        node = self._made[blob]
        while node.layer.hands_on and node.bottoms:
            blob = node.bottoms[0]
            node = self._made[blob]
        return node, node.tops.index(blob)

    @cached_property
    def _made(self) -> dict[str, Node]:
        """The layer that makes each blob."""
        return {top: node for node in self.inference.graph.nodes for top in node.tops}

    @property
    def blobs(self) -> Blobs:
        """The channels of its inputs and the classes of its outputs."""
        numbered = {**dict.fromkeys(self.thresholds, 2), **self.label_maps}
        return Blobs(
            {
                blob: channels
                for blob, sizes in self.inference.inputs.items()
                if (channels := _second(sizes)) is not None
            },
            {
                blob: numbered.get(blob, _second(sizes))
                for blob, sizes in self.inference.outputs.items()
                if len(sizes) > 1 and blob not in self.no_scores
            },
        )


# Weights that are not finite are said, and computed with as Caffe does: numpy need not say it too.
@np.errstate(all="ignore")
def export(
    source: NetSource,
    weights: WeightSource | None,
    *,
    name: str = "",
    init: bool = False,
    opset: int = DEFAULT_OPSET,
    result: Result = Result.SCORE,
    image_input: bool = False,
    optimize: Optimize = Optimize.EXACT,
    given: Given = Given(),
    asked: Asked = Asked(),
) -> Exported:
    """The model of a net and its weights: prepared, described, rewritten, written.

    `name` is what the zoo calls the net, where its own text does not say. Layers that the weights
    lack are filled with `init`. With `image_input`, colour images go in as they are. Raises
    NetError or WeightsError with everything that keeps it from being made.
    """
    net = prepare(source, weights, init=init, asked=asked)
    own, told = own_data(source, net.blobs)
    about = describe(net, name, _given(given, own))
    interface = interface_of(net, about, result, image_input=image_input)
    rewritten = optimized(net.filled, optimize)
    before, after = (
        write(each, opset=opset, metadata=about.to_props(), interface=interface)
        for each in (net.filled, rewritten.net)
    )
    # What is repeated for its samples cannot be put together from tiles in the middle of the net.
    drawn = asked.samples is not None and any(n.layer.draws for n in net.inference.graph.nodes)
    return Exported(
        after if drawn else _in_stages(after, about, rewritten.net.inference),
        (
            *net.notes,
            *_without_scores(net, Severity.NOTE),
            *told,
            *rewritten.notes,
            *metadata.missing(about, net.blobs),
        ),
        cost(net.filled, before),
        cost(rewritten.net, after),
    )


def _given(given: Given, own: Given) -> Given:
    """What a user says of a model, and where the user says nothing, what its own data say."""
    if given.dataset is not None or given.classes:
        return given
    return replace(own, mean=given.mean, palette=given.palette or own.palette)


def prepare(
    source: NetSource,
    weights: WeightSource | None,
    *,
    init: bool | None = None,
    asked: Asked = Asked(),
) -> Prepared:
    """The first step: what is left of a net for inference, with an array for each of its weights.

    Its shapes are inferred here, and travel with it. `init` is as for `fit`.
    """
    arrays = weights.weights if weights is not None else {}
    net = inference(
        _built(for_inference(source, asked.identity)), arrays, asked.size, asked.samples
    )
    fitted, notes = fit(net, weights, init=init)
    filled, fields = without_mean_fields(with_weights(net, fitted))
    told = [
        Problem(
            f"the model ends at '{blob}': mean field '{on.top}' is kept as data, and segment, score"
            " and verify apply it",
            net.graph.path,
            severity=Severity.NOTE,
        )
        for blob, on in fields.items()
    ]
    told += unsound_settings(net.graph)
    return Prepared(filled, (*net.notes, *notes, *told), fields)


def _built(source: NetSource) -> Graph:
    """The graph of a net; NetError with what Caffe would refuse and, in the same breath, with what
    has no ONNX form.

    Of layers that find boxes nothing else is said: what is wrong in them does not matter.
    """
    graph, problems = assemble(source)
    rest = cut(graph)
    boxes = {node.title for node in rest.nodes if node.layer.detects}
    told = [each for each in (*source.problems, *problems) if each.layer not in boxes]
    if any(each.severity is Severity.ERROR for each in told):
        raise_if_any(NetError, [*obstacles(rest), *told])
    return graph


def describe(net: Prepared, name: str = "", given: Given = Given()) -> Metadata:
    """The second step: what a model says of itself, by the zoo, by what is given, and by the net.

    `name` is what the zoo calls the net, where its own text does not say.
    """
    known = metadata.of_net(net.inference.graph.name or name, net.blobs)
    mean, scale = _transforms(net)
    known = replace(known, mean={**mean, **known.mean}, scale=scale)
    about = metadata.completed(known, given, net.blobs)
    return replace(
        about,
        tiling=_tiling(net.inference),
        thresholds=net.thresholds,
        label_maps=net.label_maps,
        no_scores=net.no_scores,
        mean_fields=net.mean_fields,
    )


def _transforms(net: Prepared) -> tuple[dict[str, tuple[float, ...]], dict[str, float]]:
    """The means and scales of inputs, as the net's own data layers say them."""
    means: dict[str, tuple[float, ...]] = {}
    scales: dict[str, float] = {}
    for node in net.inference.graph.nodes:
        channels = net.blobs.inputs.get(node.tops[0]) if node.layer.feeds else None
        if channels is None:
            continue
        blob, given = node.tops[0], node.layer.proto.transform_param
        mean = tuple(given.mean_value) * (channels if len(given.mean_value) == 1 else 1)
        if given.scale != 1:
            scales[blob] = given.scale
            mean = mean or (0.0,) * channels
        if len(mean) == channels and not given.HasField("mean_file"):
            means[blob] = mean
    return means, scales


def interface_of(
    net: Prepared, about: Metadata, result: Result = Result.SCORE, *, image_input: bool = False
) -> Interface:
    """What the model takes and gives; with `image_input`, colour images as they are."""
    if net.mean_fields and result is Result.LABELS:
        raise NetError(
            Problem(
                "a mean field follows its scores, so the model must give them: --result score",
                net.inference.graph.path,
            )
        )
    if result is Result.LABELS and set(net.no_scores) == net.inference.outputs.keys():
        raise NetError(*_without_scores(net, Severity.ERROR))
    images = _images(net.inference, about, net.blobs) if image_input else {}
    return Interface(
        result,
        images,
        about.scale,
        list(filter(about.is_color, images)),
        about.thresholds,
        about.label_maps,
        about.no_scores,
    )


def _without_scores(net: Prepared, severity: Severity) -> Iterator[Problem]:
    """A problem for each output that no label can be taken from."""
    for blob in net.no_scores:
        yield Problem(
            f"output '{blob}' has neither the scores of classes nor their numbers, but values or"
            " places: it gives no label map",
            net.inference.graph.path,
            severity=severity,
        )


@np.errstate(all="ignore")
def every_blob(source: NetSource, weights: WeightSource, asked: Asked = Asked()) -> Model:
    """The plain model of a net, with all its blobs as outputs."""
    net = prepare(source, weights, asked=asked)
    about = Metadata(mean_fields=net.mean_fields)
    return write(net.filled, metadata=about.to_props(), interface=Interface(every_blob=True))


def fit(
    net: Inference, weights: WeightSource | None, *, init: bool | None = None
) -> tuple[Weights, tuple[Problem, ...]]:
    """Weights for each layer of a net, and notes on those that are not simply copied.

    Raises WeightsError with every layer that has none, unless `init` fills them; None stands where
    nobody is offered that.
    """
    if not any(net.shapes.weights.values()):
        return {}, ()
    fitted = surgery.fit([weights] if weights is not None else [], net.graph, net.shapes)
    title = weights.title if weights is not None else net.graph.path
    empty = [entry.layer for entry in fitted.report if entry.action is Action.FILLER]
    if empty and not init:
        hints = ["--weights W gives them"] * (weights is None)
        hints += ["--init fills it"] * (init is not None)
        hint = f"; {', '.join(hints)}" if hints else ""
        raise WeightsError(
            *(Problem(f"there are no weights for it{hint}", title, layer=layer) for layer in empty)
        )
    notes = [
        Problem(str(entry), title, severity=Severity.NOTE)
        for entry in fitted.report
        if entry.action not in (Action.COPIED, Action.FILLER)
    ]
    unsound = (replace(each, path=title) for each in not_finite(fitted.weights))
    return fitted.weights, (*notes, *fitted.notes, *unsound)


def _tiling(net: Inference) -> Tiling | None:
    try:
        return tiling(net.graph, net.shapes)
    except NetError:
        return None  # such as a classifier, whose output lies nowhere on the image


def _in_stages(model: Model, about: Metadata, net: Inference) -> Model:
    """A model that says how it is run in two stages, if its net can be."""
    if about.tiling is None:
        return model
    try:
        found = stages(net.graph, net.shapes, about.tiling)
    except NetError:
        return model  # what a layer sees is not known, or the net takes images of one size only
    inputs = {value.name for value in model.proto.graph.input}
    outputs = [value.name for value in model.proto.graph.output]
    values = {output for node in model.proto.graph.node for output in node.output}
    for each in found:
        kept = [blob.blob for blob in each.kept]
        # A layer that does nothing has no value of its own.
        if values.issuperset(kept) and reads_only_sizes(part(model.proto, kept, outputs), inputs):
            tiling = replace(about.tiling, stages=each)
            return model.with_metadata(replace(about, tiling=tiling).to_props())
    return model


def _images(net: Inference, about: Metadata, blobs: Blobs) -> dict[str, tuple[float, ...]]:
    """The inputs that can take images as they are, with their means."""
    colour = [
        blob
        for blob, channels in blobs.inputs.items()
        if channels == COLOUR_CHANNELS and len(net.inputs[blob]) == 4
    ]
    problems = [
        Problem(
            f"the mean of input '{blob}' is not known, so --image-input cannot subtract it:"
            " --mean B,G,R or --dataset D supplies it",
            net.graph.path,
        )
        for blob in colour
        if blob not in about.mean
    ]
    if not colour:
        problems.append(
            Problem("no input has three channels, as --image-input needs", net.graph.path)
        )
    if problems:
        raise NetError(*problems)
    return {blob: about.mean[blob] for blob in colour}


def _second(sizes: tuple[int | str, ...]) -> int | None:
    """The size along axis 1, if there is one and it is fixed."""
    return size if len(sizes) > 1 and isinstance(size := sizes[1], int) else None
