"""What every layer is: a type name, an arity, settings, and what follows from them.

A layer type of Caffe is one subclass in one file of this package; importing the package registers
it. A subclass says its output shapes, its weights and where its pixels lie; what it does not say
raises, naming layer and type, because a default would be a guess.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from fcnproto.errors import LayerError
from fcnproto.layers.spatial import (
    IDENTITY,
    Affine,
    CoordMap,
    Reach,
    Window,
    everything,
    shifted,
)
from fcnproto.proto.caffe_pb2 import TEST, FillerParameter, LayerParameter, ParamSpec
from fcnproto.types import Array, Dims, Shape, show

if TYPE_CHECKING:
    import numpy as np

    from fcnproto.crf.mean_field import MeanField, Weights
    from fcnproto.layers.reading import Reading
    from fcnproto.model.builder import Builder

Tensor = Any
"""A torch.Tensor; PyTorch is an extra, so that nothing here may need it."""
Tensors = Sequence[Tensor]


NO_FORM = "there is no ONNX form for layers of these types"
"""Why a layer cannot be written in ONNX, where there is no more to say."""

BOXES = "layers that find boxes have no ONNX form"
"""The same, where what a net finds is no score or label of each pixel."""


@dataclass(frozen=True)
class Arity:
    """How many blobs a layer takes or gives."""

    least: int
    most: int | None

    def __contains__(self, count: int) -> bool:
        return self.least <= count and (self.most is None or count <= self.most)

    def __str__(self) -> str:
        if self.most is None:
            return f"at least {self.least}"
        return str(self.least) if self.least == self.most else f"{self.least} to {self.most}"


def exactly(count: int) -> Arity:
    """`count` blobs, no more, no fewer."""
    return Arity(count, count)


def between(least: int, most: int) -> Arity:
    """From `least` to `most` blobs."""
    return Arity(least, most)


def at_least(least: int) -> Arity:
    """`least` blobs or more."""
    return Arity(least, None)


class InPlace(Enum):
    """What happens when a layer's top is its bottom."""

    WORKS = "works"
    REFUSED = "refused"
    NONSENSE = "nonsense"  # Caffe does not check it, and reads what it has already overwritten


class Kind(Enum):
    """What a layer is for, as pictures of nets show it."""

    DATA = "data"
    CONVOLUTION = "convolution"
    UPSAMPLING = "upsampling"
    POOLING = "pooling"
    CROP = "crop"
    FUSION = "fusion"
    NORMALIZATION = "normalization"
    LOSS = "loss and measure"
    OTHER = "other"


Pads = tuple[int, int, int, int]
"""Zeros at the top, left, bottom and right, as ONNX orders them."""
Plane = tuple[Reach, Reach]
"""What the pixels of a top see of a bottom's rows and columns."""


@dataclass(frozen=True)
class Weight:
    """One learned array of a layer: its shape, and what fills it where no file gives it."""

    shape: Shape
    filler: FillerParameter
    diagonal: tuple[float, ...] = ()
    """What stands on the diagonal of its last two axes besides, which no filler can say."""


@dataclass(frozen=True)
class PerChannel:
    """factors · x + shifts, in float64; each is a scalar, or one number for each channel."""

    factors: Array
    shifts: Array
    axis: int
    """That of the channels, where they are not scalars."""


@dataclass(frozen=True)
class Context:
    """What a layer is built for: the phase, and an image size (height, width) if one is given."""

    phase: int = TEST
    size: tuple[int, int] | None = None


Known = TypeVar("Known")


@dataclass(frozen=True)
class Torch:
    """What layers compute with in PyTorch, in one pass: layer files import nothing of it.

    Random numbers come from `generator` for tensors, and from `rng` for fillers.
    """

    torch: ModuleType
    functional: ModuleType
    """torch.nn.functional."""
    device: Any
    generator: Any
    rng: np.random.Generator
    memory: dict[str, Any]
    """What this layer keeps from one pass to the next; it alone reads and writes it."""

    def sized(self, shapes: Sequence[Shape], make: Callable[[], Known]) -> Known:
        """What follows for this layer from its bottoms' shapes; made anew when these change."""
        if self.memory.get("shapes") != shapes:
            self.memory["sized"] = make()
            self.memory["shapes"] = shapes
        known: Known = self.memory["sized"]
        return known

    def tensor(self, values: Any) -> Tensor:
        """Numbers as a float32 tensor on the device."""
        return self.torch.as_tensor(values, dtype=self.torch.float32, device=self.device)


class Layer:
    """One layer of a net: a LayerParameter that knows what it means.

    Shapes are tuples of ints; a data layer whose data are not at hand gives None for a shape.
    Methods raise LayerError for settings and shapes that Caffe refuses.
    """

    type: ClassVar[str]
    """The name that prototxt uses."""
    fork: ClassVar[str | None] = None
    """The fork of Caffe that has this layer; None if BVLC Caffe 1.0 has it."""
    settings: ClassVar[str | None] = None
    """The field of LayerParameter that holds this type's settings."""
    bottoms: Arity = exactly(1)
    tops: Arity = exactly(1)
    """How many blobs it takes and gives; with some types their settings decide, so ask a layer."""
    top_per_bottom: ClassVar[bool] = False
    """Whether there must be as many tops as bottoms."""
    auto_top: ClassVar[bool] = False
    """Whether Caffe adds the tops that are missing, as it does for losses."""
    measures: ClassVar[bool] = False
    """Whether it compares its first bottom with labels, and so is cut off where a net infers."""
    writes: ClassVar[bool] = False
    """Whether it writes its bottoms to files: where a net infers they are what it gives."""
    aligns_all_bottoms: ClassVar[bool] = False
    """Whether coord_map holds for every bottom, not for the first only."""
    shares_memory: bool = False
    """Whether its tops are its bottom's numbers, in the same memory (Blob::ShareData)."""
    gradient_is_lost_in_place: ClassVar[bool] = False
    """Whether Caffe's backward pass, in place, overwrites the top's gradient with its derivative
    before it multiplies the two, so that the derivative's square comes out.
    """
    convolves: ClassVar[bool] = False
    """Whether its top is what its windows cover of its bottom, zeros outside, times kernels."""
    deconvolves: ClassVar[bool] = False
    """Whether it is the transpose of that: each pixel times kernels is added to the top."""
    fully_connected: ClassVar[bool] = False
    """Whether each number of its top is made of all numbers of its bottom from an axis on."""
    crops: ClassVar[bool] = False
    """Whether its top is its first bottom cut to the second's size, at an offset that it says."""
    awaits_offset: ClassVar[bool] = False
    """Whether it crops so, but at an offset that the layers between its bottoms decide."""
    is_mean_field: ClassVar[bool] = False
    """Whether it is a mean field, which needs the image too and has no ONNX form of any use."""
    keeps_shape: ClassVar[bool] = False
    """Whether its one top has its first bottom's shape and pixels."""
    checks_blobs: ClassVar[bool] = False
    """Whether Caffe compares the shapes of weights in the prototxt with those that it needs."""
    absorbs: ClassVar[bool] = False
    """Whether runtimes compute what follows it, pixel by pixel, together with it."""
    gives_places: ClassVar[int | None] = None
    """The top that says, of its values, where they stood in the first bottom's plane."""
    takes_places: ClassVar[int | None] = None
    """The bottom that says where in the top's plane values go, as another layer counted them."""
    size_is_fixed: ClassVar[bool] = False
    """Whether its top has one size whatever the bottom's is, so that only one of these fits."""
    awaits_shape: bool = False
    """Whether its tops are scalars only until a program gives them a shape."""
    items_by_data: ClassVar[bool] = False
    """Whether what the data hold decides how many items its tops have along axis 0."""
    detects: ClassVar[bool] = False
    """Whether it belongs to a net that finds boxes."""
    decides_at: ClassVar[float] = 0.0
    """Above which a number of its top says yes, where one channel tells two classes apart."""
    zeros_are_sound: ClassVar[bool] = False
    """Whether weights of 0 let what comes in through, such as a bias that nothing has moved."""
    hands_on: ClassVar[bool] = False
    """Whether its top's numbers are its first bottom's at other places, or lie between those."""
    kind: ClassVar[Kind] = Kind.OTHER
    other_settings: ClassVar[tuple[str, ...]] = ()
    """Further fields of LayerParameter that this type reads, such as loss_param."""

    registry: ClassVar[dict[str, builtins.type[Layer]]] = {}

    def __init_subclass__(cls, *, registered: bool = True, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if registered and "type" in cls.__dict__:
            Layer.registry[cls.type] = cls

    def __init__(self, proto: LayerParameter, context: Context = Context()) -> None:
        self.proto = proto
        self.context = context

    def with_settings(self, change: Callable[[LayerParameter], None]) -> Self:
        """The same layer after `change` has been made to a copy of its settings."""
        proto = LayerParameter()
        proto.CopyFrom(self.proto)
        change(proto)
        return type(self)(proto, self.context)

    @property
    def name(self) -> str:
        """The layer's name; layers of a net may share one, or have none."""
        return self.proto.name

    @property
    def phase(self) -> int:
        """TRAIN or TEST: the layer's own if it says one, else the net's (net.cpp, Net::Init)."""
        return self.proto.phase if self.proto.HasField("phase") else self.context.phase

    @property
    def param(self) -> Any:
        """The message of this type's settings."""
        assert self.settings is not None, f"{self.type} declares no settings"
        return getattr(self.proto, self.settings)

    @property
    def feeds(self) -> bool:
        """Whether it brings data in, and so is an input where a net infers."""
        return False

    @property
    def rectifies(self) -> bool:
        """Whether it makes 0 of whatever is below 0."""
        return False

    def statistics(self, arrays: Sequence[Array]) -> tuple[Array, Array] | None:
        """The mean and the variance of each channel that it has gathered; None for most types."""
        return None

    @property
    def draws(self) -> bool:
        """Whether it draws numbers at random where a net infers, too."""
        return False

    @property
    def named_size(self) -> tuple[int, int] | None:
        """The height and width of images that a data layer's settings name, if they do."""
        return None

    def drawn(self) -> Layer:
        """The layer that draws them in ONNX, where `onnx` gives what they are on average."""
        raise self._silent("random numbers")

    def reading(self) -> Reading:
        """What a data layer reads from files. LayerError for what is not read here."""
        raise LayerError(
            f"data of type {self.type} are not read here: use a Python layer such as"
            " FolderSegDataLayer, or Input layers and --data"
        )

    def apart(self) -> Sequence[tuple[Layer, Sequence[int]]]:
        """The same as several layers, with the tops of each: those that feed, and those that do
        not.
        """
        return [(self, range(len(self.proto.top)))]

    def stand_in(self) -> Layer | None:
        """An input of the same tops, for data whose values are known; None for all others."""
        return None

    @property
    def title(self) -> str:
        """What it is, where several layers are listed: its type."""
        return self.type

    @property
    def is_loss(self) -> bool:
        """Whether its loss_weight is 1 by default (loss_layer.cpp)."""
        return self.auto_top and self.measures

    @property
    def in_place(self) -> InPlace:
        """What happens when the top is the bottom; most types set it as a class attribute."""
        return InPlace.NONSENSE

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        """The shape of each top, given the bottoms' shapes."""
        raise self._silent("output shapes")

    def weights(self, bottoms: Sequence[Shape]) -> Sequence[Weight]:
        """The learned arrays in Caffe's order, given the bottoms' shapes; most types have none."""
        return ()

    def arranged(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """The arrays that a file has for it, in Caffe's order; most types have but one order."""
        return arrays

    def classes(self, bottoms: Sequence[Shape]) -> int | None:
        """How many classes the labels in its second bottom may name; None if it has no labels."""
        return None

    @property
    def ignored_label(self) -> int | None:
        """The label that does not count, if there is one."""
        return None

    def param_spec(self, index: int) -> ParamSpec:
        """The name and the rates of one of the learned arrays; a rate not given is 1."""
        specs = self.proto.param
        return specs[index] if index < len(specs) else ParamSpec()

    def oddities(self) -> Iterator[str]:
        """What Caffe accepts in this layer's settings though it makes no sense; mostly nothing."""
        return iter(())

    def plane(self) -> tuple[Window, Window]:
        """Its windows over rows and columns; LayerError if it moves none, or over other axes."""
        raise self._silent("windows")

    @property
    def windows_on_plane(self) -> tuple[Window, Window] | None:
        """Its windows over rows and columns; None if it moves none there."""
        try:
            return self.plane()
        except LayerError:
            return None

    def place(self, window: Window) -> Affine:
        """Where the pixels of the top lie in the bottom, along an axis with this window."""
        return window.convolved_to_input()

    @property
    def zeros(self) -> Pads | None:
        """The zeros around the bottom of a plain convolution; None for every other layer."""
        return None

    @property
    def takes_largest(self) -> bool:
        """Whether its top is the largest of what its windows cover of its bottom."""
        return False

    @property
    def pools_everything(self) -> bool:
        """Whether it makes one pixel of all rows and columns."""
        return False

    def without_padding(self) -> Self:
        """The same layer on whole windows within its bottom only."""
        raise self._silent("padding")

    def cut_at(self, rows: int, columns: int) -> Layer:
        """A layer that crops rows and columns at this offset."""
        raise self._silent("an offset")

    def gives_non_negative(self, bottom: bool) -> bool:
        """Whether its tops surely hold nothing below 0; `bottom` says that of its bottoms."""
        return self.rectifies

    def sums(self, labels: Shape) -> int | None:
        """Over how many labels, of this shape, a loss is a sum; 1 if it is their mean.

        None if it is no loss, or not one of labels that are counted.
        """
        return None

    def mean_field(self) -> MeanField:
        """The settings of the mean field that it computes of scores and an image."""
        raise self._silent("a mean field")

    def matrices(self, arrays: Sequence[Array]) -> Weights:
        """What the weights of a mean field mean: three matrices, C × C."""
        raise self._silent("a mean field")

    def numbered_classes(self, bottoms: Sequence[Dims]) -> int | None:
        """How many classes the first channel of its top numbers; None if that holds no labels.

        `bottoms` have None where a size is open.
        """
        return None

    def may_score(self, top: int) -> bool:
        """Whether the channels of one of its tops, by number, can be the scores of classes."""
        return top != self.gives_places

    def coord_map(self) -> CoordMap:
        """Where a pixel of the top lies in the (first) bottom, for rows and columns."""
        raise self._silent("a coordinate map")

    @cached_property
    def coordinates(self) -> CoordMap | None:
        """Its coord_map, found once; None if it has none."""
        try:
            return self.coord_map()
        except LayerError:
            return None

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """What a pixel of the top is computed from: its reach in each bottom, given their shapes.

        None for a bottom of which only the size is read. Unless a type says otherwise, that is the
        pixel at the same place, and all of a bottom whose pixels are not in the same places.
        Raises LayerError where the top has no rows and columns that go along the bottom's.
        """
        there = self.coord_map()
        own = _reach_of_point(there.rows), _reach_of_point(there.columns)
        return [
            own if index == 0 or self.aligns_all_bottoms else all_of(bottom)
            for index, bottom in enumerate(bottoms)
        ]

    def multiply_adds(self, bottoms: Sequence[Shape], tops: Sequence[Shape]) -> int:
        """How many multiply-adds one forward pass takes, given the bottoms' and tops' shapes.

        That is each product (or quotient) that the layer's formula has, together with the addition
        that follows it; those with the zeros of a padding count. Additions alone, comparisons,
        copies, and functions such as exp count as nothing, and most types have nothing else.
        """
        return 0

    def per_channel(self, arrays: Sequence[Array], bottom: Shape) -> PerChannel | None:
        """What it multiplies and adds, if that is all that it does to a bottom of this shape.

        `arrays` are its learned arrays in float64.
        """
        return None

    def output_axis(self, top: Shape) -> int | None:
        """The axis of a top along which its kernels lie; None for a layer that has no kernels."""
        return None

    def with_output_factors(self, kernels: Array, factors: Array) -> Array:
        """Its kernels, those of each output channel times a factor."""
        raise self._silent("kernels")

    def with_input_factors(
        self, kernels: Array, given: PerChannel, bottom: Shape
    ) -> tuple[Array, Array] | None:
        """Kernels, and what is added to its biases, that do `given` to the bottom first.

        None if it has no kernels, or none that can do that.
        """
        return None

    def brief(self) -> str:
        """Its settings in a few words, as for a picture."""
        return ""

    def subtracts_mean(self) -> bool | None:
        """Whether a layer that brings images in subtracts a mean from them; None if unknown."""
        return None

    def onnx(self, b: Builder, bottoms: Sequence[str]) -> Sequence[str]:
        """Write the layer in ONNX operators through `b`; give the value of each top.

        `bottoms` are the names of the values it reads. Must hold for every size of the axes that
        `b.dims` does not fix. A top may be one of the bottoms, where a layer does nothing.
        """
        raise self._silent("an ONNX form")

    def obstacle(self) -> str | None:
        """Why this layer cannot be written in ONNX as it is set; None if it can."""
        if type(self).onnx is Layer.onnx:
            return NO_FORM
        return None

    def torch(self, t: Torch, bottoms: Tensors, weights: Tensors) -> Tensors:
        """Compute the tops in PyTorch, so that their gradients are those of Caffe's backward pass.

        `weights` are the learned arrays in Caffe's order. A layer that changes them itself, as
        BatchNorm does its statistics, does so in place. A top may be one of the bottoms.
        """
        raise self._silent("a PyTorch form")

    def torch_back(self, t: Torch, gradient: Tensor, bottom: Tensor, top: Tensor) -> Tensor:
        """The bottom's gradient as Caffe's backward pass finds it, from its data and the top's.

        Types say it whose bottom or top may be overwritten before then, which changes what they
        find; for others what PyTorch knows of `torch` is right.
        """
        raise self._silent("a backward pass of its own")

    def _silent(self, what: str) -> LayerError:
        return LayerError(f"layers of type {self.type} do not have {what}")


class Pointwise(Layer):
    """A layer whose one top has its first bottom's shape and pixels."""

    keeps_shape = True

    @property
    def in_place(self) -> InPlace:
        """It reads each value before it overwrites it."""
        return InPlace.WORKS

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The first bottom's shape."""
        return (bottoms[0],)

    def coord_map(self) -> CoordMap:
        """The identity."""
        return IDENTITY


def shapes_of(tensors: Tensors) -> list[Shape]:
    """The tensors' shapes, as the methods of layers take them."""
    return [tuple(tensor.shape) for tensor in tensors]


class Windowed(Layer):
    """A layer that moves a window over an image's rows and columns."""

    def coord_map(self) -> CoordMap:
        """Output (x, y) to the centre of its window in the input."""
        rows, columns = self.plane()
        return CoordMap(self.place(rows), self.place(columns))

    def reaches(self, bottoms: Sequence[Shape]) -> Sequence[Plane | None]:
        """Those pixels of each bottom that the window covers."""
        rows, columns = map(self._reach, self.plane())
        return [(rows, columns)] * len(bottoms)

    def brief(self) -> str:
        """The windows."""
        if self.windows_on_plane is None:
            return ""
        rows, columns = self.windows_on_plane
        words = [f"{rows.kernel}×{columns.kernel}"]
        for name, usual in (("stride", 1), ("pad", 0), ("dilation", 1)):
            pair = getattr(rows, name), getattr(columns, name)
            if pair != (usual, usual):
                value = pair[0] if pair[0] == pair[1] else f"{pair[0]}×{pair[1]}"
                words.append(f"{name} {value}")
        return ", ".join(words)

    def _reach(self, window: Window) -> Reach:
        return window.convolved_reach()


def all_of(bottom: Shape) -> Plane:
    """What a pixel sees that sees all of a blob's rows and columns, if it has any."""
    rows, columns = bottom[2:] if len(bottom) == 4 else (1, 1)
    return everything(rows), everything(columns)


def _reach_of_point(axis: Affine) -> Reach:
    if axis.scale != 1 or axis.shift.denominator != 1:
        raise LayerError(f"a pixel lies at {axis.scale} x + {axis.shift}, on no other pixel")
    return shifted(int(axis.shift))


def valued(value: Tensor, course: Tensor) -> Tensor:
    """`value`, with the gradient of `course`: for where Caffe's backward pass departs from it."""
    return value.detach() + (course - course.detach())


def require(condition: bool, message: str) -> None:
    """Raise LayerError(message) unless `condition` holds."""
    if not condition:
        raise LayerError(message)


def axis_index(axis: int, shape: Shape) -> int:
    """`axis` counted from the front; negative ones count from the back (blob.hpp)."""
    if not -len(shape) <= axis < len(shape):
        raise LayerError(f"axis {axis} is out of range for a blob of shape {show(shape)}")
    return axis % len(shape)


def four_axes(shape: Shape) -> tuple[int, int, int, int]:
    """num, channels, height and width, as older layers see any blob (blob.hpp, LegacyShape)."""
    require(len(shape) <= 4, f"at most 4 axes are allowed, found {show(shape)}")
    num, channels, height, width = (*shape, *[1] * (4 - len(shape)))
    return num, channels, height, width


def axis_setting(param: Any, legacy: str) -> int:
    """The `axis` of a settings message, or the older field `legacy` that says the same."""
    require(
        not (param.HasField("axis") and param.HasField(legacy)),
        f"give either axis or {legacy}, not both",
    )
    axis: int = getattr(param, legacy if param.HasField(legacy) else "axis")
    return axis


def identity_along(axis: int) -> CoordMap:
    """The coordinate map of a layer that only rearranges N × C × H × W blobs along `axis`.

    That is the identity; LayerError if the axis is that of the rows or columns.
    """
    require(
        axis in (0, 1, -4, -3),
        f"axis {axis} is that of an image's rows or columns, whose pixels it moves",
    )
    return IDENTITY


def nchw(shape: Shape) -> tuple[int, int, int, int]:
    """num, channels, height, width as Caffe's older layers read them (blob.hpp, LegacyShape).

    Axes that a blob does not have count as 1; LayerError if it has more than 4.
    """
    require(len(shape) <= 4, f"at most 4 axes (N × C × H × W) are allowed, found {show(shape)}")
    num, channels, height, width = (*shape, 1, 1, 1, 1)[:4]
    return num, channels, height, width


def c_int(value: int) -> int:
    """`value` as Caffe reads an int64 or uint32 field into a C int of 32 bits."""
    return (value + 2**31) % 2**32 - 2**31
