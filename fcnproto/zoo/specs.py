"""The zoo: what models/*.toml say of nets, datasets and backbones, as values.

A file's stem is the name. Adding a file adds a net, a dataset, or (a classifier with a [trunk]) a
backbone; nothing here knows any of them. A file is read once, when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from fcnproto.errors import ZooError, nearest
from fcnproto.zoo.kinds import (
    AugmentSpec,
    BackboneSpec,
    ClassifierSpec,
    DatasetSpec,
    FcnSpec,
    LabelSpec,
    MeanFieldSpec,
    RecipeSpec,
    SourceSpec,
    TrainingSpec,
)
from fcnproto.zoo.toml_table import Table

_HERE = Path(__file__).parent.parent


def folder(name: str) -> Path:
    """The folder `name` that is shipped with the package: inside it, or beside it in a checkout."""
    return _HERE / name if (_HERE / name).is_dir() else _HERE.parent / name


MODELS = folder("models")


NetSpec = FcnSpec | ClassifierSpec

Spec = TypeVar("Spec")


def nets(models: Path = MODELS) -> dict[str, NetSpec]:
    """Every net, by name."""
    return {name: net(name, models) for name in _names(models / "nets")}


def net_names(models: Path = MODELS) -> list[str]:
    """What the nets are called; none of them is read."""
    return list(_names(models / "nets"))


def datasets(models: Path = MODELS) -> dict[str, DatasetSpec]:
    """Every dataset, by name."""
    return {name: dataset(name, models) for name in _names(models / "datasets")}


@cache
def backbones(models: Path = MODELS) -> Mapping[str, BackboneSpec]:
    """Every backbone, by name: the classifiers that an FCN can be built on."""
    tables = {name: Table.load(_path(models / "nets", name)) for name in _names(models / "nets")}
    return {
        name: _finished(_backbone(name, trunk := table.table("trunk")), trunk)
        for name, table in tables.items()
        if "trunk" in table
    }


@cache
def net(name: str, models: Path = MODELS) -> NetSpec:
    """The net of that name; ZooError suggests the nearest if there is none."""
    table = _table(models / "nets", "net", name)
    kind = _KINDS.get(table.choice("kind", tuple(_KINDS)), _fcn)
    return _finished(kind(name, table), table)


@cache
def dataset(name: str, models: Path = MODELS) -> DatasetSpec:
    """The dataset of that name; ZooError suggests the nearest if there is none."""
    table = _table(models / "datasets", "dataset", name)
    means = table.table("mean")
    spec = DatasetSpec(
        name=name,
        title=table.text("title"),
        mean={kind: means.numbers(kind) for kind in means},
        ignore_label=table.integer("ignore_label"),
        palette=_palette(table),
        validation_images=table.integer("validation_images"),
        labels=tuple(map(_label, table.tables("labels"))),
        train=_source(table.table("train")),
        val=_source(table.table("val")),
        own=table.switch("own", False),
    )
    if not (spec.labels and spec.mean):
        table.complain("a dataset has at least one of [[labels]] and one kind of image in 'mean'")
    table.finish()
    return spec


@cache
def backbone(name: str, models: Path = MODELS) -> BackboneSpec:
    """The backbone of that name; ZooError suggests the nearest if there is none."""
    if name in _names(models / "nets"):
        table = Table.load(_path(models / "nets", name))
        if "trunk" in table:
            trunk = table.table("trunk")
            return _finished(_backbone(name, trunk), trunk)
    raise _unknown("backbone", name, list(backbones(models)))


def recipe(name: str, models: Path = MODELS) -> RecipeSpec:
    """The recipe of that name in models/recipes.toml; ZooError if there is none."""
    recipes = Table.load(models / "recipes.toml")
    if name not in recipes:
        raise _unknown("recipe", name, list(recipes))
    table = recipes.table(name)
    spec = RecipeSpec(
        name=name,
        type=table.text("type", "SGD"),
        lr_policy=table.text("lr_policy", "fixed"),
        power=table.number("power") if "power" in table else None,
        base_lr=table.number("base_lr") if "base_lr" in table else None,
        momentum=table.number("momentum"),
        weight_decay=table.number("weight_decay"),
        iter_size=table.integer("iter_size"),
        augment=table.text("augment", "none"),
        normalize=table.switch("normalize", False),
        max_iter=table.integer("max_iter") if "max_iter" in table else None,
        snapshot=table.integer("snapshot"),
        test_interval=table.integer("test_interval") if "test_interval" in table else None,
        random_seed=table.integer("random_seed") if "random_seed" in table else None,
    )
    table.finish()
    return spec


def augment(name: str, models: Path = MODELS) -> AugmentSpec:
    """The augmentation of that name in models/augment.toml; ZooError if there is none."""
    known = Table.load(models / "augment.toml")
    if name not in known:
        raise _unknown("augmentation", name, list(known))
    table = known.table(name)
    settings: dict[str, object] = {}
    if table.switch("mirror", False):
        settings["mirror"] = True
    if "scale" in table:
        settings["scale"] = table.numbers("scale")
    if "colour" in table:
        settings["colour"] = table.number("colour")
    spec = AugmentSpec(name, settings, table.integer("crop") if "crop" in table else None)
    table.finish()
    return spec


def full_name(net: FcnSpec, backbone: str, dataset: str) -> str:
    """What the prototxt of a net is called: the net, and what differs from its defaults.

    A published net is called as the zoo calls it, because it differs in nothing.
    """
    parts = [net.name]
    parts += [backbone] if backbone != net.backbone else []
    parts += [dataset] if dataset != net.dataset else []
    return "-".join(parts)


def identify(full: str, models: Path = MODELS) -> DatasetSpec | None:
    """The dataset of the net that is called so: a net of the zoo, or what `full_name` made of one.

    None if no net is called so, or if it is a classifier.
    """
    for spec in nets(models).values():
        if not isinstance(spec, FcnSpec):
            continue
        if full == spec.name:
            return dataset(spec.dataset, models)
        if spec.published or not full.startswith(spec.name + "-"):
            continue
        for other in _names(models / "datasets"):
            names = (full_name(spec, backbone, other) for backbone in backbones(models))
            if full in names:
                return dataset(other, models)
    return None


@cache
def voc_palette() -> tuple[tuple[int, int, int], ...]:
    """PASCAL VOC's colours for 256 label values, RGB.

    Of a label's bits, the lowest three are the highest of red, green and blue, the next three the
    next lower of each, and so on.
    """

    def channel(label: int, index: int) -> int:
        return sum((label >> (3 * place + index) & 1) << (7 - place) for place in range(3))

    return tuple((channel(n, 0), channel(n, 1), channel(n, 2)) for n in range(256))


def _finished(spec: Spec, table: Table) -> Spec:
    table.finish()
    return spec


@cache
def _names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.toml")))


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.toml"


def _table(folder: Path, kind: str, name: str) -> Table:
    known = _names(folder)
    if name not in known:
        raise _unknown(kind, name, known)
    return Table.load(_path(folder, name))


def _unknown(kind: str, name: str, known: Sequence[str]) -> ZooError:
    hint = nearest(name, known) or "; see `fcnproto list`"
    return ZooError(f"there is no {kind} '{name}'{hint}")


def _fcn(name: str, table: Table) -> FcnSpec:
    published = table.switch("published", False)
    trains = published or "training" in table
    strides = table.integers("strides")
    scales = table.table("scales", required=False)
    spec = FcnSpec(
        name=name,
        title=table.text("title"),
        published=published,
        backbone=table.text("backbone"),
        dataset=table.text("dataset"),
        strides=strides,
        scales={int(stride): scales.number(stride) for stride in scales if stride.isdecimal()},
        images=table.texts("images"),
        fusion=table.choice("fusion", ("early", "late")) if "fusion" in table else None,
        first_layer_suffix=table.text("first_layer_suffix", ""),
        data_root=table.text("data_root", "../data"),
        options=_switches(table.table("options", required=False)),
        training=_training(table.table("training")) if trains else None,
        trained_like=() if trains else table.texts("trained_like"),
        mean_field=_mean_field(table.table("mean_field")) if "mean_field" in table else None,
    )
    _check_fcn(spec, table)
    return spec


def _mean_field(table: Table) -> MeanFieldSpec:
    spec = MeanFieldSpec(
        theta_alpha=table.number("theta_alpha"),
        theta_beta=table.number("theta_beta"),
        theta_gamma=table.number("theta_gamma"),
        spatial=table.number("spatial"),
        bilateral=table.number("bilateral"),
        iterations=table.integer("iterations"),
        train_iterations=table.integer("train_iterations"),
        lr_mults=table.numbers("lr_mults"),
        base_lr=table.number("base_lr"),
    )
    if len(spec.lr_mults) != 3:
        table.complain(f"'lr_mults' must be three numbers, found {list(spec.lr_mults)}")
    return spec


def _check_fcn(spec: FcnSpec, table: Table) -> None:
    steps = zip(spec.strides, spec.strides[1:], strict=False)
    if not spec.strides or any(not small or big % small or big == small for big, small in steps):
        table.complain(
            f"'strides' must fall, each a multiple of the next, found {list(spec.strides)}"
        )
    if not set(spec.scales) <= set(spec.strides[1:]):
        table.complain(f"'scales' must be of strides after the first, found {list(spec.scales)}")
    if (len(spec.images) == 2) != (spec.fusion is not None) or len(spec.images) > 2:
        table.complain("'images' are two with a 'fusion', and one or none without")
    if spec.fusion == "late" and len(spec.strides) > 1:
        table.complain("'fusion' can be late only where one stride is scored")
    if not spec.is_fixed and not spec.trained_like:
        table.complain("'trained_like' must name at least one published net")


def _classifier(name: str, table: Table) -> ClassifierSpec:
    if "trunk" in table:
        _backbone(name, table.table("trunk"))
    height, width = (*table.integers("size"), 0, 0)[:2]
    if not (height and width):
        table.complain("'size' must be a height and a width")
    return ClassifierSpec(
        name=name,
        title=table.text("title"),
        published=table.switch("published", False),
        backbone=table.text("backbone", name if "trunk" in table else None),
        convolutional=table.switch("convolutional", False),
        proto_name=table.text("proto_name", name),
        batch=table.integer("batch", 1),
        size=(height, width),
        classes=table.integer("classes"),
        options=_switches(table.table("options", required=False)),
    )


_KINDS: Mapping[str, Callable[[str, Table], NetSpec]] = {"fcn": _fcn, "classifier": _classifier}


def _backbone(name: str, trunk: Table) -> BackboneSpec:
    skips = trunk.table("skips", required=False)
    return BackboneSpec(
        name=name,
        title=trunk.text("title"),
        template=trunk.text("template"),
        pad=trunk.integer("pad"),
        fcn_pad=trunk.integer("fcn_pad"),
        score=trunk.text("score"),
        skips={int(stride): skips.text(stride) for stride in skips if stride.isdecimal()},
        classifier=trunk.text("classifier"),
        batch_lr=trunk.number("batch_lr"),
        recipe=trunk.text("recipe", "finetune"),
        options=_switches(trunk.table("options", required=False)),
    )


def _label(table: Table) -> LabelSpec:
    label = LabelSpec(
        name=table.text("name"),
        suffix=table.text("suffix", ""),
        loss=table.text("loss", "loss"),
        classes=table.texts("classes"),
    )
    if not label.classes:
        table.complain("'classes' must name at least one class")
    return label


def _source(table: Table) -> SourceSpec:
    settings = table.table("settings")
    return SourceSpec(
        file=table.text("file"),
        module=table.text("module"),
        layer=table.text("layer"),
        settings={key: settings.text_or_integer(key) for key in settings},
    )


def _training(table: Table) -> TrainingSpec:
    return TrainingSpec(
        recipe=table.text("recipe"),
        base_lr=table.number("base_lr"),
        max_iter=table.integer("max_iter"),
        snapshot=table.integer("snapshot") if "snapshot" in table else None,
    )


def _switches(table: Table) -> dict[str, bool]:
    return {key: table.switch(key, False) for key in table}


def _palette(table: Table) -> tuple[tuple[int, int, int], ...]:
    """PASCAL VOC's, or those that the file lists; labels beyond them are black."""
    if "colours" in table:
        return (*table.colours("colours"), *[(0, 0, 0)] * 256)[:256]
    table.choice("palette", ("voc",))
    return voc_palette()
