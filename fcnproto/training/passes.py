"""What a pass through a net computes with, and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fcnproto.layers.base import Layer, Torch
from fcnproto.types import Shape


@dataclass(frozen=True)
class Parameter:
    """A learned array, which several layers may share, and its rates."""

    title: str
    """The layer that owns it and its number there, as in conv1_1/0."""
    tensor: Tensor
    lr_mult: float
    decay_mult: float


@dataclass(frozen=True)
class Pass:
    """What a pass computed: the loss, and the net's outputs and other blobs asked for."""

    loss: Tensor
    blobs: Mapping[str, Tensor]


@dataclass(frozen=True)
class Use:
    """An array as one layer uses it: in the shape it has there, and whether it learns from it."""

    parameter: int
    shape: Shape
    learns: bool


def goes_back(layer: Layer) -> bool:
    """Whether a layer's type says what its backward pass does."""
    return type(layer).torch_back is not Layer.torch_back


@dataclass(frozen=True)
class Content:
    """The memory of a layer's top, in which others write later; of its bottom too if in place."""

    contents: Mapping[int, Tensor]
    number: int
    in_place: bool


class Overwritten(torch.autograd.Function):
    """A layer whose backward pass finds in memory what was written there last, as in Caffe."""

    @staticmethod
    def forward(ctx: Any, bottom: Tensor, layer: Layer, tools: Torch, memory: Content) -> Tensor:
        """The layer's top."""
        ctx.layer, ctx.tools, ctx.memory, ctx.shape = layer, tools, memory, bottom.shape
        if not memory.in_place:
            ctx.save_for_backward(bottom)
        top: Tensor = layer.torch(tools, [bottom], ())[0]
        return top

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The layer's own, with what lies in memory at the end of the pass."""
        memory = ctx.memory.contents[ctx.memory.number].reshape(gradients[0].shape)
        bottom = memory.reshape(ctx.shape) if ctx.memory.in_place else ctx.saved_tensors[0]
        (gradient,) = gradients
        if ctx.memory.in_place and ctx.layer.gradient_is_lost_in_place:
            gradient = ctx.layer.torch_back(ctx.tools, torch.ones_like(gradient), bottom, memory)
        return ctx.layer.torch_back(ctx.tools, gradient, bottom, memory), None, None, None
