"""The built-in example, end to end: a net, its weights, a model, pictures, and how good it is.

All is drawn or shipped with the package; nothing is fetched, and nothing needs PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fcnproto import weights
from fcnproto.datasets import Reader, find, generated
from fcnproto.datasets.measures import Score
from fcnproto.datasets.pictures import read_labels
from fcnproto.datasets.score import score_model
from fcnproto.errors import FcnprotoError, Problem, reason
from fcnproto.exporting.export import export
from fcnproto.files import replacing
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render
from fcnproto.runtime.images import ImageSource, read, write_labels
from fcnproto.runtime.overlay import overlay
from fcnproto.runtime.segment_files import Segmented, segment
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.runtime.sheet import sheet
from fcnproto.surgery import fit
from fcnproto.weights import fetch

NET, DATASET = "shapes-fcn8s", "shapes"
IMAGES = 50
"""So many held-out images are written and measured."""
SHOWN = 3
"""So many of them are segmented into files and shown."""


@dataclass(frozen=True)
class Demo:
    """What came out."""

    score: Score
    picture: Path


def run(folder: Path, step: Callable[[str], object] = lambda _command: None) -> Demo:
    """Render the net, export it, segment images, score them, and write pictures, all into a folder.

    `step` is called before each step with the command that does the same. Every file is written
    whole or not at all. Raises FcnprotoError where one cannot be written.
    """
    prototxt, model = folder / f"{NET}.prototxt", folder / f"{NET}.onnx"
    segmented = folder / "segmented"
    reader = generated(DATASET)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    names = write_folder(reader, IMAGES, folder)

    step(f"fcnproto render {NET} -o {prototxt}")
    text = render(NET)
    with replacing(prototxt) as temporary:
        temporary.write_text(text, "utf-8")

    step(f"fcnproto export-onnx {prototxt} --weights {NET} -o {model}")
    source = fit.WeightSource(NET, weights.read(fetch.locate(NET)))
    export(parse_net(text, str(prototxt)), source).model.save(model)

    shown = [folder / "images" / f"{name}.png" for name in names[:SHOWN]]
    step(f"fcnproto segment {' '.join(map(str, shown))} --model {model} -o {segmented}")
    segmenter = Segmenter(model, device="cpu", scores=False)
    with _writing(segmented):
        segmented.mkdir(exist_ok=True)
    outcomes = list(segment(segmenter, map(ImageSource, shown), segmented, {}))
    problems = [each for each in outcomes if isinstance(each, Problem)]
    if problems:
        raise FcnprotoError(*problems)
    done = [each for each in outcomes if isinstance(each, Segmented)]

    step(f"fcnproto score --model {model} --data {folder}")
    (score,) = score_model(segmenter.runner, find(folder)).values()

    picture = folder / "demo.png"
    rows = [_row(folder, each) for each in done]
    with replacing(picture) as temporary:
        sheet(_TITLES, rows, reader.spec.classes, segmenter.runner.palette).save(temporary, "PNG")
    return Demo(score, picture)


def write_folder(reader: Reader, count: int, folder: Path) -> tuple[str, ...]:
    """Write a split's first images as a plain folder of data of one's own; gives their names.

    That is images/, labels/, classes.txt and a file that names the split's images.
    """
    spec, names = reader.spec, reader.names[:count]
    (image,), (label,) = reader.images, reader.label_tops
    for part in ("images", "labels"):
        with _writing(folder / part):
            (folder / part).mkdir(exist_ok=True)
    for index, name in enumerate(names):
        write_labels(folder / "labels" / f"{name}.png", reader.label(label, index), spec.palette)
        with replacing(folder / "images" / f"{name}.png") as temporary:
            Image.fromarray(reader.picture(image, index)).save(temporary, "PNG")
    legend = [
        f"{name} {red} {green} {blue}"
        for name, (red, green, blue) in zip(spec.classes, spec.palette, strict=False)
    ]
    for path, lines in ((f"{reader.split}.txt", names), ("classes.txt", legend)):
        with replacing(folder / path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return names


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FcnprotoError(Problem(f"cannot be made: {reason(error)}", str(folder))) from error


# The picture ----------------------------------------------------------------------------------

_TITLES = ("image", "what the net says", "over the image", "truth")


def _row(folder: Path, done: Segmented) -> list[Image.Image]:
    """An image, its label map, its overlay and the truth."""
    name = done.source.path.name
    (labels,) = done.labels.values()
    truth = folder / "labels" / name
    image, drawn, true = (read(ImageSource(path)) for path in (done.source.path, labels, truth))
    over = overlay(image, read_labels(labels), generated(DATASET).spec.palette)
    return [Image.fromarray(each) for each in (image, drawn, over, true)]
