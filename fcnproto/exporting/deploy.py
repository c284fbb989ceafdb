"""From a net and its weights to a model that says what it is: what `export-onnx` does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fcnproto.errors import NetError, Problem, Severity, WeightsError
from fcnproto.exporting.cost import Cost, cost
from fcnproto.exporting.filled import fill
from fcnproto.exporting.inference import Inference, for_inference, inference
from fcnproto.exporting.rewrite import Optimize, optimized
from fcnproto.exporting.tiling import stages, tiling
from fcnproto.exporting.write import DEFAULT_OPSET, Interface, Result, write
from fcnproto.model import metadata
from fcnproto.model.file import Model
from fcnproto.model.metadata import Blobs, Given, Metadata
from fcnproto.model.parts import part, reads_only_sizes
from fcnproto.model.tiles import Tiling
from fcnproto.net.graph import build
from fcnproto.proto.source import NetSource
from fcnproto.surgery import fit as surgery
from fcnproto.surgery.fit import Action, Source
from fcnproto.weights import Weights

ENDINGS = (".npz", ".caffemodel", ".caffemodel.h5", ".safetensors")
"""The weights of net.prototxt lie beside it as net with one of these, the first that is there."""

COLOUR_CHANNELS = 3


@dataclass(frozen=True)
class Deployed:
    """A model, what there is to say of it, and what it costs without and with its rewrites."""

    model: Model
    notes: tuple[Problem, ...]
    before: Cost
    after: Cost


def weights_beside(net: str) -> Path | None:
    """The weight file that lies beside a prototxt under its stem, or in . for a net of the zoo."""
    stem = Path(net).with_suffix("")
    candidates = [stem.with_name(stem.name + ending) for ending in ENDINGS]
    return next((path for path in candidates if path.is_file()), None)


def deploy(
    source: NetSource,
    weights: Source | None,
    *,
    name: str = "",
    init: bool = False,
    opset: int = DEFAULT_OPSET,
    result: Result = Result.SCORE,
    image_input: bool = False,
    optimize: Optimize = Optimize.EXACT,
    given: Given = Given(),
) -> Deployed:
    """The model of a net and its weights.

    `name` is what the zoo calls the net, where its own text does not say. Layers that the weights
    lack are filled with `init`. With `image_input`, colour images go in as they are. Raises
    NetError or WeightsError with everything that keeps it from being made.
    """
    arrays = weights.weights if weights is not None else {}
    net = inference(build(for_inference(source)), arrays)
    fitted, notes = fit(net, weights, init=init)
    blobs = Blobs(
        {blob: int(sizes[1]) for blob, sizes in net.inputs.items() if _is_int(sizes[1:2])},
        {
            blob: int(sizes[1]) if _is_int(sizes[1:2]) else None
            for blob, sizes in net.outputs.items()
            if len(sizes) > 1
        },
    )
    about = metadata.completed(metadata.of_net(net.graph.name or name, blobs), given, blobs)
    about = replace(about, tiling=_tiling(net))
    images = _images(net, about, blobs) if image_input else {}
    interface = Interface(result, images, list(filter(about.is_color, images)))
    plain = fill(net, fitted)
    rewritten = optimized(plain, optimize)
    before, after = (
        write(each, opset=opset, metadata=about.to_props(), interface=interface)
        for each in (plain, rewritten.net)
    )
    return Deployed(
        _in_stages(after, about, rewritten.net.net),
        (*net.notes, *notes, *rewritten.notes, *metadata.missing(about, blobs)),
        cost(plain, before),
        cost(rewritten.net, after),
    )


def every_blob(source: NetSource, weights: Source) -> Model:
    """The plain model of a net, with all its blobs as outputs."""
    net = inference(build(for_inference(source)), weights.weights)
    fitted, _ = fit(net, weights)
    return write(fill(net, fitted), interface=Interface(every_blob=True))


def fit(
    net: Inference, weights: Source | None, *, init: bool = False
) -> tuple[Weights, tuple[Problem, ...]]:
    """Weights for each layer of a net, and notes on those that are not simply copied.

    Raises WeightsError with every layer that has none, unless `init` fills them.
    """
    if not any(net.shapes.weights.values()):
        return {}, ()
    fitted = surgery.fit([weights] if weights is not None else [], net.graph, net.shapes)
    title = weights.title if weights is not None else net.graph.path
    empty = [entry.layer for entry in fitted.report if entry.action is Action.FILLER]
    if empty and not init:
        hint = "" if weights is not None else "--weights W gives them, "
        raise WeightsError(
            *(
                Problem(f"there are no weights for it; {hint}--init fills it", title, layer=layer)
                for layer in empty
            )
        )
    notes = [
        Problem(str(entry), title, severity=Severity.NOTE)
        for entry in fitted.report
        if entry.action not in (Action.COPIED, Action.FILLER)
    ]
    return fitted.weights, (*notes, *fitted.notes)


def _tiling(net: Inference) -> Tiling | None:
    try:
        return tiling(net.graph, net.shapes)
    except NetError:
        return None  # such as a classifier, whose output lies nowhere on the image


def _in_stages(model: Model, about: Metadata, net: Inference) -> Model:
    """A model that says how it is run in two stages, if its net lets itself be run so."""
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


def _is_int(sizes: tuple[int | str, ...]) -> bool:
    return bool(sizes) and isinstance(sizes[0], int)
