"""The device that a training runs on."""

from __future__ import annotations

import re

import torch

from fcnproto.errors import FcnprotoError


def chosen_device(text: str) -> str:
    """PyTorch's name of the device that auto, cpu, cuda or cuda:1 means.

    Raises FcnprotoError for anything else, and for a GPU that is not there.
    """
    if re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", str(text), re.ASCII) is None:
        raise FcnprotoError(f"there is no device '{text}': expected auto, cpu, cuda or cuda:1")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if text == "auto":
        return "cuda" if count else "cpu"
    if text.startswith("cuda"):
        if not count:
            raise FcnprotoError(
                f"device '{text}' is asked for, but PyTorch {torch.__version__} finds no GPU"
            )
        number = int(text.partition(":")[2] or 0)
        if number >= count:
            raise FcnprotoError(f"there is no device '{text}': GPUs are 0 to {count - 1}")
    return text
