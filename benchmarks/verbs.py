"""What each verb takes, beside an older version: python benchmarks/verbs.py OLD NEW [TIMES].

OLD and NEW are the fcnproto commands of two environments. They run in turn, in a folder of their
own; the table has the medians of their processor time (user and system) in seconds, and the ratio.
A first run of each is not counted: it leaves the modules compiled, as pip leaves them.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

VERBS = {
    "--help": "--help",
    "list": "list",
    "render": "render fcn8s",
    "check": "check net.prototxt",
    "diff": "diff net.prototxt net.prototxt",
    "upgrade": "upgrade net.prototxt -o upgraded.prototxt --force",
    "summary": "summary net.prototxt",
    "draw": "draw net.prototxt -o net.svg --force",
    "explain": "explain crop net.prototxt",
    "convert-weights": "convert-weights shapes.npz --net net.prototxt -o fitted.npz --force",
    "export-onnx": "export-onnx net.prototxt --weights shapes.npz -o again.onnx --force",
    "verify": "verify demo/shapes-fcn8s.onnx demo/shapes-fcn8s.onnx",
    "doctor": "doctor net.prototxt shapes.npz",
    "segment": "segment demo/images --model demo/shapes-fcn8s.onnx -o out",
    "score": "score --model demo/shapes-fcn8s.onnx --data demo",
    "dataset check": "dataset check demo",
}


def taken(command: str, arguments: str, folder: Path) -> float:
    """The processor time of a command, its children included; its own errors end the benchmark."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([command, *arguments.split()], cwd=folder, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode > 1:  # doctor and check end with 1 where they find something
        raise SystemExit(f"{command} {arguments}\n{done.stderr.decode()}")
    return sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))


def main(old: str, new: str, times: int = 5) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepared = {
            "net.prototxt": "render shapes-fcn8s",
            "shapes.npz": "convert-weights shapes-fcn8s --net net.prototxt -o shapes.npz",
            "demo": "demo -o demo",
        }
        for name, arguments in prepared.items():
            done = subprocess.run([new, *arguments.split()], cwd=folder, capture_output=True)
            if not (folder / name).exists():
                (folder / name).write_bytes(done.stdout)
        print(f"{'verb':16} {'old':>6} {'new':>6} {'ratio':>6}")
        for verb, arguments in VERBS.items():
            taken(old, arguments, folder), taken(new, arguments, folder)
            pairs = [
                (taken(old, arguments, folder), taken(new, arguments, folder)) for _ in range(times)
            ]
            one, other = (median(column) for column in zip(*pairs, strict=True))
            print(f"{verb:16} {one:6.2f} {other:6.2f} {other / one:6.2f}", flush=True)


if __name__ == "__main__":
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # idle threads would count as work
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # every start would compile the modules anew
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
