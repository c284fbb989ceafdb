"""What segmenting many images costs beside the engine: processor time and time, in turn with it.

100 photographs of 500×375 (drawn) with the small net for shapes: the engine alone, fed arrays that
are ready; `Segmenter` on a list; and what `fcnproto segment` does, which writes files too. Rounds
go in turn; what counts are differences and ratios within one run.

    python benchmarks/segment_many.py [rounds]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import fcnproto as fp
from fcnproto.runtime.images import ImageSource
from fcnproto.runtime.segment_files import Segmented, segment

COUNT, SIZE, BATCH = 100, (375, 500), 5


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = folder / "out"
        out.mkdir()
        paths = photographs(folder)
        model = fp.export("shapes-fcn8s", "shapes-fcn8s")
        segmenter = fp.Segmenter(model, device="cpu", scores=False)
        runner = segmenter.runner
        ready = [dict(runner.prepare({"data": np.asarray(Image.open(p))}) or {}) for p in paths]
        batches = [
            np.stack([each["data"] for each in ready[start : start + BATCH]])
            for start in range(0, COUNT, BATCH)
        ]

        def engine() -> None:
            for batch in batches:
                runner.session.run({"data": batch}, ["score"])

        def listed() -> None:
            assert all(result.ok for result in segmenter(paths))

        def verb() -> None:
            done = segment(segmenter, map(ImageSource, paths), out, {})
            assert all(isinstance(each, Segmented) for each in done)

        runs = {"engine alone": engine, "Segmenter on a list": listed, "fcnproto segment": verb}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                cpu, clock = time.process_time(), time.perf_counter()
                run()
                times[name].append((time.process_time() - cpu, time.perf_counter() - clock))
        medians = {
            name: [statistics.median(column) * 1000 / COUNT for column in zip(*each, strict=True)]
            for name, each in times.items()
        }
        base = medians["engine alone"]
        print(f"{'ms for an image':<22}{'processor':>10}{'beside it':>11}{'time':>8}{'ratio':>7}")
        for name, (cpu, clock) in medians.items():
            print(
                f"{name:<22}{cpu:>10.1f}{cpu - base[0]:>11.1f}{clock:>8.1f}{clock / base[1]:>7.2f}"
            )


def photographs(folder: Path) -> list[Path]:
    """JPEGs with areas and some noise, as photographs have."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(COUNT):
        small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        areas = np.asarray(small.resize(SIZE[::-1], Image.Resampling.BICUBIC), np.int16)
        noisy = areas + rng.normal(0, 6, areas.shape).astype(np.int16)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
