"""What is fuzzed: each reader and each verb, with what it starts from and how that is changed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main
from fcnproto.errors import FcnprotoError
from tests.fuzz import seeds
from tests.fuzz.mutators import archive, parts, picture, plain, prototxt, tree, values, wire
from tests.fuzz.mutators.parts import Mutate


@dataclass(frozen=True)
class Target:
    """One reader or verb. `run` works in an empty folder, and gives what was printed."""

    name: str
    run: Callable[[bytes], str | None]
    seeds: Callable[[], Sequence[bytes]]
    mutate: Mutate


def _file(name: str, content: bytes) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _each(*actions: Callable[[], object]) -> str:
    """Do everything, whatever of it is refused; give what was said."""
    said = []
    for action in actions:
        try:
            action()
        except FcnprotoError as error:
            said.append(str(error))
    return "\n".join(said)


def verb(*arguments: str) -> str:
    """What a verb prints; raises what escapes it, and for an end that says nothing."""
    result = CliRunner().invoke(main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code not in (0, 1, 2):
        raise AssertionError(f"exit code {result.exit_code}")
    if result.exit_code and not result.output:
        raise AssertionError("it fails without a word")
    return result.output


def _chosen(data: bytes) -> Random:
    """Chance that is the same whenever the input is: which options a verb is given."""
    return Random(zlib.crc32(data))


def _some(rng: Random, *options: Sequence[str]) -> list[str]:
    """Each of several options, now and then."""
    return [word for option in options if rng.random() < 0.25 for word in option]


# Readers ----------------------------------------------------------------------------------------


def _prototxt(data: bytes) -> str:
    from fcnproto.proto import printer, source

    text = data.decode("utf-8", "replace")
    said = []
    for parse in (source.parse_net, source.parse_solver):
        for lenient in (False, True):
            try:
                found = parse(text, lenient=lenient)
                printer.format(found.net if isinstance(found, source.NetSource) else found.solver)
                said += map(str, found.problems)
            except FcnprotoError as error:
                said.append(str(error))
    return "\n".join(said)


def _weights(data: bytes) -> str:
    from fcnproto import weights

    loaded = weights.load(_file("in", data))
    return "\n".join(map(str, (*loaded.notes, *weights.not_finite(loaded.weights))))


def _state(data: bytes) -> str:
    from fcnproto import weights
    from fcnproto.weights import solverstate

    path = _file("in", data)
    return _each(lambda: solverstate.read(path), lambda: weights.read_blob(path))


def _matlab(data: bytes) -> str:
    from fcnproto.datasets.mat import read_mat

    path = _file("in.mat", data)
    return _each(
        lambda: read_mat(path, "GTcls", "Segmentation"),
        lambda: read_mat(path, "GTcls"),
        lambda: read_mat(path, "LabelMap"),
    )


def _metadata(data: bytes) -> str:
    from fcnproto.model.given import Given
    from fcnproto.model.metadata import Blobs, Metadata, completed, missing

    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return ""
    props = {
        key.encode("utf-8", "replace").decode(): value
        if isinstance(value, str)
        else json.dumps(value)
        for key, value in said.items()
    }
    blobs = Blobs({"data": 3}, {"score": 3})
    found = completed(Metadata.from_props(props, "model.onnx"), Given(), blobs)
    Metadata.from_props(found.to_props())
    return "\n".join(map(str, missing(found, blobs)))


def _outline(data: bytes) -> str:
    from fcnproto.model.file import ModelProto
    from fcnproto.model.outline import outline
    from fcnproto.model.parts import part

    path = _file("in.onnx", data)
    outline(path)
    try:
        model = ModelProto.FromString(data)
    except Exception:  # of protobuf, on the way to what is tested
        return ""
    return _each(
        lambda: part(model, ["data"], ["conv"]),
        lambda: part(model, ["conv"], [value.name for value in model.graph.output]),
    )


def _image(data: bytes) -> str:
    from fcnproto.datasets import pictures
    from fcnproto.runtime import images

    path = _file("in.png", data)
    source = images.ImageSource(path)
    readers = (pictures.read_image, pictures.read_colours, pictures.read_label_picture,
               pictures.read_palette, pictures.read_stored, pictures.read_depth_map)  # fmt: skip
    return _each(
        lambda: images.read(source),
        lambda: images.read_depth(source),
        *(partial(reader, path) for reader in readers),
        lambda: pictures.read_mask(data),
    )


def _array(data: bytes) -> str:
    from fcnproto.datasets import pictures

    path = _file("in.npy", data)
    return _each(lambda: pictures.read_labels(path), lambda: pictures.read_depth_map(path))


def _preset(data: bytes) -> str:
    from fcnproto.crf.presets import preset

    _file("in.toml", data)
    return _each(lambda: preset("in.toml"), lambda: preset("in.toml:own"))


def _spec(data: bytes) -> str:
    from fcnproto.zoo import specs

    for folder in ("nets", "datasets"):
        _file(f"{folder}/own.toml", data)
    models = _file("recipes.toml", data).parent
    return _each(
        lambda: specs.net("own", models),
        lambda: specs.dataset("own", models),
        lambda: specs.backbone("own", models),
        lambda: specs.recipe("heavy", models),
    )


def _lists(data: bytes) -> str:
    from fcnproto.datasets.folder import pair
    from fcnproto.datasets.lists import read_columns
    from fcnproto.files import read_lines
    from fcnproto.model.given import said
    from fcnproto.runtime import images
    from fcnproto.surgery.classes_map import read_classes_map
    from fcnproto.zoo.legend import Legend, write_legend

    path = _file("classes.txt", data)
    mapped = _file("cvat/labelmap.txt", data)
    known = dict.fromkeys(("a", "b", "images/c"))
    return _each(
        lambda: write_legend(Path("new.txt"), Legend.of(path.parent).entries),
        lambda: Legend.of(mapped.parent),
        lambda: read_classes_map(path),
        lambda: said(classes=path),
        lambda: said(palette=path),
        lambda: [pair(line, known, known) for line in read_lines(path)],
        lambda: images.find([str(path)]),
        lambda: read_columns(path, 2),
        lambda: read_columns(path, 3),
    )


def _database(data: bytes) -> str:
    from fcnproto.datasets.databases import Database

    _file("in/data.mdb", data)
    found = Database(Path("in"))
    return _each(*(partial(found.item, index) for index in range(min(len(found), 20))))


def _tables(data: bytes) -> str:
    from fcnproto.datasets.tables import Tables

    path = _file("in.h5", data)
    return _each(
        lambda: Tables([path], ("iter",)).row(0), lambda: Tables([path], ("LabelMap", "x"))
    )


def _annotations(data: bytes) -> str:
    from fcnproto.datasets.annotations import find_drawings
    from fcnproto.zoo.legend import Legend

    Image.fromarray(np.zeros((9, 12), np.uint8)).save("a.png")
    _file("in.xml" if data.lstrip().startswith(b"<") else "in.json", data)
    found = find_drawings(Path(), Legend.of(Path()))
    if found is None:
        return ""
    for name in found.drawings:
        found.draw(name)
    return "\n".join(map(str, found.notes))


def _annotation_mutate(data: bytes, others: list[bytes], rng: Random) -> bytes:
    kind = plain.mutate if data.lstrip().startswith(b"<") else tree.mutate
    return kind(data, others, rng)


# Verbs of nets ----------------------------------------------------------------------------------


def _check(data: bytes) -> str:
    _file("in.prototxt", data)
    return verb("check", "in.prototxt", *_some(_chosen(data), ["--phase", "TRAIN"], ["--lenient"],
                                               ["--size", "33x47"]))  # fmt: skip


def _upgrade(data: bytes) -> str:
    _file("in.prototxt", data)
    return verb("upgrade", "in.prototxt", "-o", "out.prototxt")


def _diff(data: bytes) -> str:
    one, other = parts.split(data, 2)
    _file("a.prototxt", one)
    _file("b.prototxt", other)
    return verb("diff", "a.prototxt", "b.prototxt")


def _summary(data: bytes) -> str:
    _file("in.prototxt", data)
    return verb("summary", "in.prototxt", *_some(_chosen(data), ["--json"], ["--markdown"],
                                                 ["--size", "33x47"]))  # fmt: skip


def _draw(data: bytes) -> str:
    _file("in.prototxt", data)
    return verb("draw", "in.prototxt", "-o", "out.dot", *_some(_chosen(data), ["--phase", "train"]))


def _explain(data: bytes) -> str:
    _file("in.prototxt", data)
    rng = _chosen(data)
    flags = _some(rng, ["--json"], ["--size", "33x47"])
    return "\n".join(
        verb("explain", *what, *flags)
        for what in (
            ["crop", "in.prototxt"],
            ["pad", "in.prototxt"],
            ["field", "in.prototxt", rng.choice(("score", "data", "y", "conv1"))],
        )
    )


def _export(data: bytes) -> str:
    _file("in.prototxt", data)
    rng = _chosen(data)
    flags = _some(rng, ["--result", "labels"], ["--image-input"], ["--optimize", "none"],
                  ["--opset", "13"], ["--dataset", "voc"])  # fmt: skip
    return verb("export-onnx", "in.prototxt", "--init", "-o", "out.onnx", *flags)


def _export_weights(data: bytes) -> str:
    net, weights = parts.split(data, 2)
    _file("in.prototxt", net)
    _file("in.caffemodel", weights)
    return verb("export-onnx", "in.prototxt", "--weights", "in.caffemodel", "-o", "out.onnx")


def _convert_weights(data: bytes) -> str:
    net, weights = parts.split(data, 2)
    _file("in.prototxt", net)
    _file("in.caffemodel", weights)
    suffix = _chosen(data).choice((".npz", ".caffemodel", ".h5", ".safetensors"))
    return verb("convert-weights", "in.caffemodel", "--net", "in.prototxt", "-o", f"out{suffix}")


def _convolutionize(data: bytes) -> str:
    net, weights = parts.split(data, 2)
    _file("in.prototxt", net)
    _file("in.caffemodel", weights)
    return verb("convolutionize", "in.prototxt", "in.caffemodel", "-o", "out")


def _doctor(data: bytes) -> str:
    net, weights, photo = parts.split(data, 3)
    _file("in.prototxt", net)
    _file("in.caffemodel", weights)
    _file("in.png", photo)
    rng = _chosen(data)
    image = ["in.png"] if rng.random() < 0.3 else []
    return verb("doctor", "in.prototxt", "in.caffemodel", *image, *_some(rng, ["--json"]))


# Verbs of models and data -----------------------------------------------------------------------


def _with_metadata(model: bytes, said: bytes) -> bytes:
    """A model that says something else of itself."""
    from fcnproto.model.file import ModelProto

    try:
        proto, found = ModelProto.FromString(model), json.loads(said)
    except Exception:  # of protobuf or JSON, on the way to what is tested
        return model
    for key, value in found.items() if isinstance(found, dict) else ():
        text = value if isinstance(value, str) else json.dumps(value)
        proto.metadata_props.add(
            key=key.encode("utf-8", "replace"), value=text.encode("utf-8", "replace")
        )
    return proto.SerializeToString()


def _segment(data: bytes) -> str:
    model, said, image = parts.split(data, 3)
    _file("model.onnx", _with_metadata(model, said) if said else model)
    _file("in/a.png", image)
    Image.new("RGB", (16, 16), "red").save("in/b.png")
    flags = _some(_chosen(data), ["--json"], ["--tile", "8"], ["--flip"], ["--scale", "0.5"],
                  ["--refine", "crf"])  # fmt: skip
    return verb("segment", "in", "--model", "model.onnx", "-o", "out", *flags)


def _verify(data: bytes) -> str:
    model, other = parts.split(data, 2)
    _file("model.onnx", model)
    if other.startswith(b"PK"):
        _file("arrays.npz", other)
        return verb("verify", "model.onnx", "--reference", "arrays.npz")
    _file("other.onnx", other)
    return verb("verify", "model.onnx", "other.onnx")


def _score(data: bytes) -> str:
    pred, truth = parts.split(data, 2)
    ending = ".npy" if pred.startswith(b"\x93NUMPY") else ".png"
    _file(f"pred/a{ending}", pred)
    _file("truth/a.png", truth)
    rng = _chosen(data)
    flags = _some(rng, ["--json"], ["--classes", rng.choice(("1", "4", "300"))], ["--trimap", "2"],
                  ["--ignore", rng.choice(("-1", "0", "70000"))])  # fmt: skip
    return verb("score", "--pred", "pred", "--truth", "truth", *flags)


def _legend(content: bytes) -> None:
    """Names and colours; who calls a class FORGED may see it begin a line of a table."""
    _file("data/classes.txt", content.replace(b"FORGED", b"forged"))


def _dataset(data: bytes) -> None:
    image, one, other, legend, split = parts.split(data, 5)
    for name, content in (("images/a.png", image), ("images/b.png", image), ("labels/a.png", one),
                          ("labels/b.png", other), ("train.txt", split)):  # fmt: skip
        _file(f"data/{name}", content)
    if legend:
        _legend(legend)


def _dataset_check(data: bytes) -> str:
    _dataset(data)
    flags = _some(_chosen(data), ["--classes", "3"])
    said = verb("dataset", "check", "data", *flags)
    said += verb("dataset", "weights", "data", *_some(_chosen(data), ["--split", "train"]))
    return said + verb("dataset", "split", "data", "-o", "lists")


def _dataset_convert(data: bytes) -> str:
    _dataset(data)
    flags = _some(_chosen(data), ["--nearest"], ["--resize"])
    return verb("dataset", "convert", "data", "-o", "new", *flags)


def _dataset_annotations(data: bytes) -> str:
    image, annotations, legend = parts.split(data, 3)
    _file("data/a.png", image)
    _file(f"data/in.{'xml' if annotations.lstrip().startswith(b'<') else 'json'}", annotations)
    if legend:
        _legend(legend)
    return verb("dataset", "convert", "data", "-o", "new")


# Seeds of several files -------------------------------------------------------------------------


def _two_nets() -> list[bytes]:
    nets = seeds.nets()
    return [parts.joined(one, other) for one, other in zip(nets, [*nets[1:], nets[0]], strict=True)]


def _same_nets() -> list[bytes]:
    return [parts.joined(net, net) for net in seeds.nets()] + _two_nets()[::5]


def _doctor_seeds() -> list[bytes]:
    image = picture.drawn(Random(1), "PNG", "RGB")
    return [parts.joined(pair, image) for pair in seeds.pairs()]


def _segment_seeds() -> list[bytes]:
    rng = Random(2)
    said = seeds.metadata()[0]
    return [
        parts.joined(model, words, picture.drawn(rng, "PNG", mode))
        for model in seeds.models()
        for words in (b"", said)
        for mode in ("RGB", "L")
    ]


def _verify_seeds() -> list[bytes]:
    import io

    model = seeds.models()[0]
    generator = np.random.default_rng(0)
    arrays = {"in/data": generator.random((1, 3, 9, 8), np.float32),
              "out/score": generator.random((1, 3, 9, 8), np.float32)}  # fmt: skip
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    found = [parts.joined(model, buffer.getvalue())]
    return found + [parts.joined(model, other) for other in seeds.models()]


def _score_seeds() -> list[bytes]:
    import io

    found = [parts.joined(label, label) for label in seeds.labels()]
    buffer = io.BytesIO()
    np.save(buffer, np.ones((7, 8), np.int64))
    return [*found, parts.joined(buffer.getvalue(), picture.drawn(Random(3), "PNG", "L"))]


def _dataset_seeds() -> list[bytes]:
    rng = Random(4)
    return [
        parts.joined(picture.drawn(rng, "PNG", "RGB"), picture.drawn(rng, "PNG", mode),
                     picture.drawn(rng, "PNG", mode), legend, b"a\nb\n")
        for mode in ("L", "P", "RGB", "1", "RGBA")
        for legend in (b"", *seeds.LISTS[:2])
    ]  # fmt: skip


def _annotation_seeds() -> list[bytes]:
    buffer = picture.io.BytesIO()
    Image.new("RGB", (12, 9)).save(buffer, "PNG")
    texts = (seeds.LABELME, seeds.COCO, seeds.CVAT)
    return [parts.joined(buffer.getvalue(), text, legend)
            for text in texts for legend in (b"", b"background\ndog\ncat\ncow\n")]  # fmt: skip


def _npy_seeds() -> list[bytes]:
    found = []
    for dtype in ("u1", "i8", ">u2", "f4", "?"):
        buffer = picture.io.BytesIO()
        np.save(buffer, np.ones((1, 3, 4), dtype))
        found.append(buffer.getvalue())
    return found


def _arrays_or_model(data: bytes, others: list[bytes], rng: Random) -> bytes:
    kind = archive.zipped if data.startswith(b"PK") else wire.mutate
    return kind(data, others, rng)


def _pixels(data: bytes, others: list[bytes], rng: Random) -> bytes:
    if data.startswith(b"\x93NUMPY"):
        return archive.npy(data, rng)
    if rng.random() < 0.3:
        return picture.drawn(rng, "PNG", rng.choice(("L", "P", "1", "I;16", "RGB")))
    return picture.mutate(data, others, rng)


def _anything(data: bytes, others: list[bytes], rng: Random) -> bytes:
    kind = archive.hdf5 if data.startswith(b"\x89HDF") else wire.mutate
    return kind(data, others, rng)


def _database_mutate(data: bytes, others: list[bytes], rng: Random) -> bytes:
    """A sound database with an item that is changed: what holds it is LMDB's own to read."""
    item = wire.mutate(rng.choice(seeds.datums()), seeds.datums(), rng)
    return seeds.database([item, rng.choice(seeds.datums())])


_PAIR = parts.mutator(prototxt.mutate, wire.mutate)
_FOLDER = parts.mutator(picture.mutate, _pixels, _pixels, plain.mutate, plain.mutate)

TARGETS = {
    target.name: target
    for target in (
        Target("prototxt", _prototxt, seeds.nets, prototxt.mutate),
        Target("caffemodel", _weights, seeds.caffemodels, wire.mutate),
        Target("hdf5", _weights, seeds.hdf5, archive.hdf5),
        Target("npz", _weights, seeds.numpy_files, archive.numpy_file),
        Target("safetensors", _weights, seeds.tensors, archive.safetensors),
        Target("solverstate", _state, seeds.states, _anything),
        Target("matlab", _matlab, seeds.matlab, archive.matlab),
        Target("lmdb", _database, seeds.databases, _database_mutate),
        Target("tables", _tables, seeds.hdf5, archive.hdf5),
        Target("metadata", _metadata, seeds.metadata, tree.mutate),
        Target("model", _outline, seeds.models, wire.mutate),
        Target("images", _image, seeds.images, picture.mutate),
        Target("npy", _array, _npy_seeds, archive.numpy_file),
        Target("presets", _preset, lambda: seeds.PRESETS, plain.mutate),
        Target("specs", _spec, seeds.specs, plain.mutate),
        Target("lists", _lists, lambda: seeds.LISTS, plain.mutate),
        Target(
            "annotations",
            _annotations,
            lambda: (seeds.LABELME, seeds.COCO, seeds.CVAT),
            _annotation_mutate,
        ),
        Target("check", _check, seeds.nets, prototxt.mutate),
        Target("upgrade", _upgrade, lambda: [*seeds.nets(), *seeds.caffemodels()], prototxt.mutate),
        Target("diff", _diff, _same_nets, parts.mutator(prototxt.mutate, prototxt.mutate)),
        Target("summary", _summary, seeds.nets, prototxt.mutate),
        Target("draw", _draw, seeds.nets, prototxt.mutate),
        Target("explain", _explain, seeds.nets, prototxt.mutate),
        Target("export", _export, seeds.nets, prototxt.mutate),
        Target("export-weights", _export_weights, seeds.pairs, _PAIR),
        Target("convert-weights", _convert_weights, seeds.pairs, _PAIR),
        Target("convolutionize", _convolutionize, seeds.pairs, _PAIR),
        Target(
            "doctor",
            _doctor,
            _doctor_seeds,
            parts.mutator(prototxt.mutate, wire.mutate, picture.mutate),
        ),
        Target(
            "segment",
            _segment,
            _segment_seeds,
            parts.mutator(wire.mutate, tree.mutate, picture.mutate),
        ),
        Target("verify", _verify, _verify_seeds, parts.mutator(wire.mutate, _arrays_or_model)),
        Target("score", _score, _score_seeds, parts.mutator(_pixels, _pixels)),
        Target("dataset-check", _dataset_check, _dataset_seeds, _FOLDER),
        Target("dataset-convert", _dataset_convert, _dataset_seeds, _FOLDER),
        Target(
            "dataset-annotations",
            _dataset_annotations,
            _annotation_seeds,
            parts.mutator(picture.mutate, _annotation_mutate, plain.mutate),
        ),
    )
}
"""By name."""

__all__ = ["TARGETS", "Target", "values", "verb"]
