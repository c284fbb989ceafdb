"""A step of the small net, and of plain PyTorch's with the same layers.

The plain one is a module with the same convolutions, pools, upsamplings
and crops, torch's own cross entropy and torch.optim.Adam. Both learn from the same image, in turns,
so that whatever else the machine does slows both alike; what counts is the ratio.

python benchmarks/train_step.py [rounds]
"""

from __future__ import annotations

import os
import sys
import time
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fcnproto.proto.source import read_solver
from fcnproto.rendering.fcn import render, render_solver
from fcnproto.training.solver import Solver

SIZE, CLASSES, BATCH = (96, 128), 5, 2


def ours(folder: str) -> Solver:
    """The solver of shapes-fcn8s, one pass a step."""
    for phase in ("train", "val"):
        text = render("shapes-fcn8s", phase=phase)
        with open(f"{folder}/{phase}.prototxt", "w") as file:  # noqa: PTH123
            file.write(text)
    text = render_solver("shapes-fcn8s", folder=folder).replace("iter_size: 2", "iter_size: 1")
    with open(f"{folder}/solver.prototxt", "w") as file:  # noqa: PTH123
        file.write(text)
    shapes = {"data": (BATCH, 3, *SIZE), "label": (BATCH, 1, *SIZE)}
    return Solver(read_solver(f"{folder}/solver.prototxt"), shapes=shapes, seed=1)


class Plain(nn.Module):
    """The same layers as anybody would write them."""

    def __init__(self) -> None:
        super().__init__()
        stages, channels = [], 3
        for width, count in ((8, 1), (16, 1), (32, 2), (48, 2), (64, 2)):
            layers: list[nn.Module] = []
            for _ in range(count):
                pad = 33 if channels == 3 else 1
                layers += [nn.Conv2d(channels, width, 3, padding=pad), nn.ReLU(inplace=True)]
                channels = width
            stages.append(nn.Sequential(*layers, nn.MaxPool2d(2, ceil_mode=True)))
        self.stages = nn.ModuleList(stages)
        self.dense = nn.Sequential(
            nn.Conv2d(64, 96, 3), nn.ReLU(inplace=True), nn.Conv2d(96, 96, 1), nn.ReLU(inplace=True)
        )
        self.scores = nn.ModuleList([nn.Conv2d(width, CLASSES, 1) for width in (96, 48, 32)])
        self.register_buffer("two", torch.rand(CLASSES, 1, 4, 4))
        self.register_buffer("eight", torch.rand(CLASSES, 1, 16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]
        x = x * 0.015625
        pools = []
        for stage in self.stages:
            x = stage(x)
            pools.append(x)
        score = self.scores[0](self.dense(x))
        for number, pool, cut in ((1, pools[3], 2), (2, pools[2], 4)):
            up = {"stride": 2, "padding": 1, "groups": CLASSES}
            score = functional.conv_transpose2d(score, self.two, **up)
            height, width = score.shape[2:]
            skip = self.scores[number](pool)
            score = score + skip[:, :, cut : cut + height, cut : cut + width]
        score = functional.conv_transpose2d(score, self.eight, stride=8, padding=4, groups=CLASSES)
        return score[:, :, : size[0], : size[1]]


def main() -> None:
    """Time both in turns, print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    torch.set_num_threads(min(2, os.cpu_count() or 1))
    rng = np.random.default_rng(1)
    image = rng.uniform(-100, 150, (BATCH, 3, *SIZE)).astype(np.float32)
    labels = rng.integers(0, CLASSES, (BATCH, 1, *SIZE)).astype(np.uint8)
    with TemporaryDirectory() as folder:
        solver = ours(folder)
    net = Plain()
    rate = solver.learning_rate
    adam = torch.optim.Adam(net.parameters(), rate, weight_decay=solver.param.weight_decay)

    def plain() -> None:
        x, truth = torch.tensor(image), torch.tensor(labels[:, 0].astype(np.int64))
        adam.zero_grad()
        loss = functional.cross_entropy(net(x), truth, ignore_index=255)
        loss.backward()
        adam.step()
        loss.item()

    def own() -> None:
        solver.step([{"data": image, "label": labels}])

    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(rounds + 3):
        for name, step in (("ours", own), ("plain", plain)):
            start = time.perf_counter()
            step()
            if number >= 3:
                times[name].append(time.perf_counter() - start)
    first, second = (median(times[name]) for name in ("ours", "plain"))
    ratios = [a / b for a, b in zip(times["ours"], times["plain"], strict=True)]
    print(f"ours {1000 * first:.1f} ms, plain PyTorch {1000 * second:.1f} ms")
    print(f"ratio {median(ratios):.3f} in the middle of {rounds}, least {min(ratios):.3f}")


if __name__ == "__main__":
    main()
