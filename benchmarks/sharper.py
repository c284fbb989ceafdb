"""What makes label maps finer, and what it takes: scales, mirror images and a dense CRF, on shapes.

FCN-32s and FCN-8s on the 200 held-out images: mean IU, that of pixels within 3 of a boundary
(the trimap), and the time of an image. FCN-32s is trained first, as its
own solver says, unless its weights are given; those of FCN-8s come with fcnproto.

    python benchmarks/sharper.py [--fcn32s WEIGHTS] [--threads N] [--presets]
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skips import train

from fcnproto import __version__
from fcnproto.crf.presets import names
from fcnproto.datasets import generated
from fcnproto.datasets.score import score_model
from fcnproto.exporting.export import export
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.runtime.session import Session
from fcnproto.surgery.fit import WeightSource
from fcnproto.weights import fetch, read

SCALES = (0.75, 1.0, 1.25)
Settings = dict[str, Any]
PLANS: dict[str, Settings] = {
    "as it is": {},
    "--flip": {"flip": True},
    "three scales": {"scales": SCALES},
    "three scales, --flip": {"scales": SCALES, "flip": True},
    "--refine crf": {"refine": "crf"},
    "--refine crf, --flip": {"refine": "crf", "flip": True},
    "all of them": {"scales": SCALES, "flip": True, "refine": "crf"},
}
ITERATIONS, SEED = 3000, 1337  # as the solver of shapes-fcn32s says
NEAR = 3


def model_of(net: str, weights: Path) -> bytes:
    exported = export(parse_net(render(net)), WeightSource(net, read(weights)), name=net)
    return exported.model.to_proto().SerializeToString()


def measured(model: bytes, plan: Settings, threads: int | None) -> tuple[float, float, float]:
    """Mean IU, mean IU near boundaries, and the seconds of an image."""
    session = Session(model, "cpu", threads=threads)
    segmenter = Segmenter(session, scores=False, **plan)
    reader = generated("shapes", "val")
    (whole,) = score_model(segmenter.runner, reader).values()
    (near,) = score_model(segmenter.runner, reader, trimap=NEAR).values()
    pictures = [reader.picture("data", index) for index in range(50)]
    start = time.perf_counter()
    for picture in pictures:
        segmenter(picture)
    return whole.mean_iu, near.mean_iu, (time.perf_counter() - start) / len(pictures)


def table(net: str, model: bytes, plans: dict[str, Settings], threads: int | None) -> None:
    print(f"\n| {net} | mean IU | gain | within {NEAR} pixels | gain | ms an image | times |")
    print("|---|---|---|---|---|---|---|")
    first: Sequence[float] = ()
    for title, plan in plans.items():
        iu, near, seconds = measured(model, plan, threads)
        first = first or (iu, near, seconds)
        print(
            f"| {title} | {iu:.1%} | {100 * (iu - first[0]):+.1f} | {near:.1%} |"
            f" {100 * (near - first[1]):+.1f} | {1000 * seconds:.0f} | {seconds / first[2]:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fcn32s", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--presets", action="store_true", help="each preset instead")
    given = parser.parse_args()
    plans = PLANS
    if given.presets:
        crfs = {f"crf:{name}": {"refine": f"crf:{name}"} for name in names()}
        plans = {"as it is": {}, **crfs}
    print(f"fcnproto {__version__}, {platform.machine()}")
    with tempfile.TemporaryDirectory() as folder:
        weights = given.fcn32s
        if weights is None:
            _, weights = train("shapes-fcn32s", SEED, ITERATIONS, None, Path(folder))
        table("shapes-fcn32s", model_of("shapes-fcn32s", weights), plans, given.threads)
    table(
        "shapes-fcn8s", model_of("shapes-fcn8s", fetch.locate("shapes-fcn8s")), plans, given.threads
    )


if __name__ == "__main__":
    main()
