"""How fast weights are read, and in how much memory: a .caffemodel of VGG16's size against np.load.

Both files hold the same arrays, both are in the page cache, and the two are read in turn, each time
in a process of its own. Prints the machine, the versions, the times and the peaks.

    python benchmarks/read_weights.py [--runs N] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from fcnproto import weights
from fcnproto.version import __version__

WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
DENSE = ((4096, 25088), (4096, 4096), (1000, 4096))

READ = {
    "np.load": "arrays = np.load({path!r})\nfound = [arrays[key] for key in arrays.files]",
    "fcnproto": "found = [a for _, a in weights.keyed(weights.read({path!r}))]",
    "protobuf": "found = NetParameter.FromString(open({path!r}, 'rb').read())",
}

CHILD = """
import json, resource, time
import numpy as np
from fcnproto import weights
from fcnproto.proto.caffe_pb2 import NetParameter
start = time.perf_counter()
{read}
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([seconds, peak]))
"""


def vgg16(rng: np.random.Generator) -> weights.Weights:
    """Random arrays of VGG16's shapes: 138 million numbers."""
    shapes = [(out, into, 3, 3) for into, out in zip((3, *WIDTHS), WIDTHS, strict=False)]
    return {
        f"layer{index}": [
            rng.standard_normal(shape, np.float32),
            rng.standard_normal(shape[0], np.float32),
        ]
        for index, shape in enumerate([*shapes, *DENSE])
    }


def measure(reader: str, path: Path) -> tuple[float, float]:
    """Seconds and bytes at the peak, of a process that reads a file."""
    code = CHILD.format(read=READ[reader].format(path=str(path)))
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the files go for a while")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        npz, caffemodel = Path(name) / "w.npz", Path(name) / "w.caffemodel"
        arrays = vgg16(np.random.default_rng(0))
        weights.write(npz, arrays)
        weights.write(caffemodel, arrays)
        del arrays
        paths = {"np.load": npz, "fcnproto": caffemodel, "protobuf": caffemodel}
        for reader, path in paths.items():  # fills the page cache
            measure(reader, path)
        results = {reader: [] for reader in paths}
        for _ in range(options.runs):
            for reader, path in paths.items():
                results[reader].append(measure(reader, path))
        size = caffemodel.stat().st_size
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"fcnproto {__version__}, numpy {np.__version__}, a .caffemodel of {size / 1e6:.0f} MB")
    base = median(seconds for seconds, _ in results["np.load"])
    for reader, runs in results.items():
        seconds = median(seconds for seconds, _ in runs)
        peak = max(peak for _, peak in runs)
        print(
            f"{reader:9} {seconds:6.2f} s (median of {len(runs)}), {seconds / base:4.2f} times"
            f" np.load, peak {peak / 1e9:.2f} GB"
        )


if __name__ == "__main__":
    main()
