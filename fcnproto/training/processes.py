"""Several processes that train one net together, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as group
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """How many processes there are, and which one this is."""

    count: int = 1
    rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.count > 1:
            for tensor in tensors:
                group.all_reduce(tensor)

    def agree(self, wish: bool, device: str) -> bool:
        """Whether any process wishes it."""
        if self.count == 1:
            return wish
        wishes = torch.tensor(int(wish), device=device)
        self.add([wishes])
        return bool(wishes)

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by that of the first process."""
        if self.count > 1:
            for tensor in tensors:
                group.broadcast(tensor, 0)

    def told(self, text: str | None) -> str:
        """What the first process says, in all of them; the others wait for it."""
        said = [text]
        if self.count > 1:
            group.broadcast_object_list(said, 0)
        assert said[0] is not None, "the first process says something"
        return said[0]


ALONE = Processes()


def in_company() -> bool:
    """Whether torchrun started several processes, of which this is one."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(device: str) -> Iterator[tuple[Processes, str]]:
    """The processes that torchrun started, and this one's device; without torchrun, this alone.

    On GPUs each process takes the one of its number, unless `device` names one.
    """
    if not in_company():
        yield ALONE, device
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    group.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Processes(group.get_world_size(), group.get_rank()), device
    finally:
        group.destroy_process_group()
