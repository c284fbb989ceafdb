"""A server under load, on loopback: what it answers, how soon, and what memory it takes.

    python benchmarks/serve_load.py [SECONDS] [CLIENTS]

Each client posts one image after the other; on 503 it waits as Retry-After says.
"""

from __future__ import annotations

import asyncio
import collections
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2 as httpx
import numpy as np
import psutil
from PIL import Image

import fcnproto

NET = "shapes-fcn8s"
SIZES = ((140, 168), (375, 500))


def images() -> list[bytes]:
    random = np.random.default_rng(0)
    found = []
    for height, width in SIZES:
        content = io.BytesIO()
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(content, "JPEG")
        found.append(content.getvalue())
    return found


async def load(address: str, seconds: float, clients: int, process: psutil.Process) -> None:
    end = time.monotonic() + seconds
    statuses: collections.Counter[int] = collections.Counter()
    times: list[float] = []
    memory: list[int] = []

    async def client(index: int) -> None:
        bodies = images()
        async with httpx.AsyncClient(timeout=60) as session:
            turn = index
            while time.monotonic() < end:
                start = time.perf_counter()
                answer = await session.post(
                    f"{address}segment",
                    content=bodies[turn % len(bodies)],
                    headers={"Content-Type": "image/jpeg", "Accept": "image/png"},
                )
                turn += 1
                statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    times.append(time.perf_counter() - start)
                elif answer.status_code == 503:
                    await asyncio.sleep(int(answer.headers["Retry-After"]))

    async def watch() -> None:
        while time.monotonic() < end:
            memory.append(process.memory_info().rss)
            await asyncio.sleep(1)

    await asyncio.gather(watch(), *map(client, range(clients)))
    p50, p99 = np.percentile(times, [50, 99])
    third = len(memory) // 3
    print(f"{clients} clients, {seconds:g} s, {os.cpu_count()} cores, sizes {SIZES}")
    print(f"answers: {dict(statuses)}, {statuses[200] / seconds:.0f} images/s")
    print(f"seconds: median {p50:.2f}, p99 {p99:.2f}, longest {max(times):.2f}")
    parts = (memory[third : 2 * third], memory[2 * third :])
    middle, last = (max(part) / 2**20 for part in parts)
    print(f"memory: at most {middle:.0f} MiB in the second third, {last:.0f} MiB in the last")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    with TemporaryDirectory() as folder:
        model = Path(folder) / f"{NET}.onnx"
        fcnproto.export(fcnproto.load_net(NET), fcnproto.load_weights(NET)).save(model)
        command = [sys.executable, "-m", "fcnproto", "serve", "--model", str(model), "--port", "0"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            try:
                lines = iter(server.stderr.readline, "")
                address = next(line for line in lines if line.startswith("http")).split()[0]
                asyncio.run(load(address, seconds, clients, psutil.Process(server.pid)))
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
