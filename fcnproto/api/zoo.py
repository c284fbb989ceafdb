"""The zoo: what can be named, and nets of it as prototxt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from numbers import Integral
from os import PathLike
from pathlib import Path
from reprlib import repr

from fcnproto.errors import ZooError
from fcnproto.files import replacing
from fcnproto.types import Shown, size_of, whole
from fcnproto.words import columns
from fcnproto.zoo import specs
from fcnproto.zoo.legend import ClassesLike, Legend


@dataclass(frozen=True, repr=False)
class Zoo(Shown):
    """The nets, datasets and backbones that can be named, each with its title."""

    nets: Mapping[str, str]
    datasets: Mapping[str, str]
    backbones: Mapping[str, str]

    def __str__(self) -> str:
        lines = []
        for kind, names in vars(self).items():
            lines += [f"{kind}:", *(f"  {line}" for line in columns([*names.items()]))]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th colspan=2>{kind}</th></tr>"
            + "".join(
                f"<tr><td><code>{escape(name)}</code></td><td>{escape(title)}</td></tr>"
                for name, title in names.items()
            )
            for kind, names in vars(self).items()
        )
        return f"<table>{rows}</table>"


def nets() -> Zoo:
    """The nets, datasets and backbones that can be named."""
    return Zoo(
        {name: net.title for name, net in specs.nets().items()},
        {name: dataset.title for name, dataset in specs.datasets().items()},
        {name: backbone.title for name, backbone in specs.backbones().items()},
    )


class Prototxt(Shown, str):
    """The text of a net or solver: a string that shows as it is, and saves itself."""

    __slots__ = ()

    def __str__(self) -> str:
        return str.__str__(self)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it, whole or not at all, as UTF-8; FcnprotoError if it cannot be written."""
        file = Path(path)
        with replacing(file) as temporary:
            temporary.write_text(self, "utf-8")
        return file


def render(
    net: str,
    *,
    phase: str = "deploy",
    solver: bool = False,
    recipe: str | None = None,
    dataset: str | None = None,
    data_dir: str | PathLike[str] | None = None,
    backbone: str | None = None,
    classes: ClassesLike | None = None,
    pad: int | None = None,
    size: tuple[int, int] | None = None,
) -> Prototxt:
    """A net of the papers as Caffe prototxt, or the solver that trains it.

    `phase` is deploy (the score is the output), train or val. `recipe` is heavy (single images and
    high momentum), batch (20 images), scratch or finetune (Adam, from nothing or from weights): by
    default heavy, on data of one's own scratch for small nets and else finetune. `dataset` is what
    it is trained on, which lies in `data_dir`; `backbone` is vgg16 by default; `classes` (how many,
    their names, or a file of them) are by default those of the dataset. A folder of one's own says
    itself which they are, and how many images val has.
    `pad` is the first layer's, `size` the (height, width) that a deploy net declares.

    Raises ZooError for a name that the zoo does not have, and for options that the net cannot take.
    """
    from fcnproto.rendering.fcn import render as render_net
    from fcnproto.rendering.fcn import render_solver

    folder = None if data_dir is None else str(data_dir)
    given = len(Legend.given(classes).names) or None
    count = whole(classes, "classes") if isinstance(classes, Integral) else given
    pad, size = None if pad is None else whole(pad, "pad"), size_of(size)
    if not isinstance(net, str):
        raise ZooError(f"expected the name of a net of the zoo, found {repr(net)}")
    if solver:
        text = render_solver(
            net,
            recipe=recipe,
            dataset=dataset,
            data_dir=folder,
            backbone=backbone,
            classes=count,
            pad=pad,
        )
    else:
        text = render_net(
            net,
            phase=phase,
            recipe=recipe,
            dataset=dataset,
            data_dir=folder,
            backbone=backbone,
            classes=count,
            pad=pad,
            size=size,
        )
    return Prototxt(text)
