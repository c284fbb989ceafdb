"""FCN-8s as one would write it in PyTorch, for benchmarks to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional

from fcnproto.types import Array


class Fcn8s(torch.nn.Module):
    """Long, Shelhamer and Darrell 2015, figure 3; weights as Caffe's VOC net has them."""

    def __init__(self, weights: Mapping[str, Sequence[Array]]) -> None:
        super().__init__()
        for name, arrays in weights.items():
            kernels, *biases = arrays
            if name.startswith("upscore"):
                kernels = kernels[np.arange(21), np.arange(21), None]
            for number, array in enumerate((kernels, *biases)):
                self.register_buffer(f"{name}_{number}", torch.from_numpy(array.copy()))

    def _convolve(self, name: str, x: torch.Tensor, pad: int = 0) -> torch.Tensor:
        return functional.conv2d(
            x, getattr(self, f"{name}_0"), getattr(self, f"{name}_1"), padding=pad
        )

    def _upsample(self, name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
        return functional.conv_transpose2d(x, getattr(self, f"{name}_0"), stride=stride, groups=21)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        """The scores, N×21×H×W."""
        x, pools = data, {}
        for block, convolutions in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)):
            for number in range(1, convolutions + 1):
                pad = 100 if block == number == 1 else 1
                x = self._convolve(f"conv{block}_{number}", x, pad).relu_()
            x = pools[block] = functional.max_pool2d(x, 2, 2, ceil_mode=True)
        x = self._convolve("fc6", x).relu_()
        x = self._convolve("fc7", x).relu_()
        score = self._upsample("upscore2", self._convolve("score_fr", x), 2)
        for block, offset, name, stride in ((4, 5, "upscore_pool4", 2), (3, 9, "upscore8", 8)):
            skip = self._convolve(f"score_pool{block}", pools[block])
            height, width = score.shape[2:]
            skip = skip[:, :, offset : offset + height, offset : offset + width]
            score = self._upsample(name, score + skip, stride)
        height, width = data.shape[2:]
        return score[:, :, 31 : 31 + height, 31 : 31 + width]
