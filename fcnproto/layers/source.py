"""What layers that read images or other data from files share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from fcnproto.layers.base import Kind, Layer, exactly, require
from fcnproto.layers.reading import Transform
from fcnproto.proto.caffe_pb2 import TRAIN
from fcnproto.types import Shape

FIRST_FORK_FIELD = 10000  # see proto/caffe.proto


class DataLayer(Layer):
    """A layer that makes blobs out of data which are not at hand (base_data_layer.cpp).

    Its tops: the data, and their labels.
    """

    other_settings: ClassVar[tuple[str, ...]] = ("transform_param", "data_param")
    bottoms = exactly(0)
    feeds = True
    tops = exactly(2)
    kind = Kind.DATA

    def subtracts_mean(self) -> bool:
        """Whether transform_param gives one."""
        transform = self.proto.transform_param
        return transform.HasField("mean_file") or len(transform.mean_value) > 0

    def check_transform(self) -> None:
        """Raise LayerError if Caffe refuses transform_param."""
        transform = self.proto.transform_param
        require(
            not (transform.HasField("mean_file") and transform.mean_value),
            "give either mean_file or mean_value, not both",
        )

    def batch_size(self) -> int:
        """The number of items in a batch; LayerError if there are none."""
        size: int = self.param.batch_size
        require(size > 0, "batch_size must be positive, found 0")
        return size

    def check_source(self) -> None:
        """Raise LayerError if no file is named."""
        require(self.param.source != "", "source must name a file, found none")

    def images(self, channels: int = 3) -> Shape | None:
        """N × C × H × W where a size stands in for that of images nobody has read; else None."""
        if self.context.size is None:
            return None
        return (max(1, self.param.batch_size), channels, *self.context.size)

    def sized_by_fork(self) -> bool:
        """Whether transform_param has fields of a fork, which size images in ways of their own."""
        fields = self.proto.transform_param.ListFields()
        return any(field.number >= FIRST_FORK_FIELD for field, _ in fields)

    @property
    def named_size(self) -> tuple[int, int] | None:
        """That of the crop, else what images are resized to, in Caffe's fields or in forks'."""
        transform, param = self.proto.transform_param, self.param
        crop = transform.crop_size
        pairs = (
            (transform.crop_h or crop, transform.crop_w or crop),
            (transform.crop_height, transform.crop_width),
            (getattr(param, "crop_height", 0), getattr(param, "crop_width", 0)),
            (transform.resize_param.height, transform.resize_param.width),
            (getattr(param, "new_height", 0), getattr(param, "new_width", 0)),
        )
        return next((pair for pair in pairs if all(pair)), None)

    def transform(
        self, size: tuple[int, int] | None = None, colour: bool | None = None, pad: str = ""
    ) -> Transform:
        """What transform_param says, for images of a size and of colour or grey.

        Raises LayerError for what it asks for and is not done here.
        """
        self.check_transform()
        given = self.proto.transform_param
        known = ("crop_h", "crop_w", "crop_height", "crop_width", "scale_factors")
        strange = [
            field.name
            for field, _ in given.ListFields()
            if field.number >= FIRST_FORK_FIELD and field.name not in known
        ]
        require(not strange, f"{', '.join(strange)} of transform_param is not done here")
        height = given.crop_h or given.crop_height or given.crop_size
        width = given.crop_w or given.crop_width or given.crop_size
        require(
            (height > 0) == (width > 0),
            f"a crop has a height and a width, found {height} and {width}",
        )
        require(
            not (given.force_color and given.force_gray), "give force_color or force_gray, not both"
        )
        if given.force_color or given.force_gray:
            colour = given.force_color
        return Transform(
            size,
            tuple(given.scale_factors),
            crop=(height, width) if height else None,
            random=self.phase == TRAIN,
            pad=pad,
            mirror=given.mirror,
            mean_file=given.mean_file,
            mean=tuple(given.mean_value),
            scale=given.scale,
            colour=colour,
        )


def new_size(param: object) -> tuple[int, int] | None:
    """The height and width to which images are resized; LayerError if one is given alone."""
    height, width = getattr(param, "new_height", 0), getattr(param, "new_width", 0)
    require(
        (height > 0) == (width > 0),
        f"give both new_height and new_width, or neither, found {height} and {width}",
    )
    return (height, width) if height else None


class ImageMaps(DataLayer):
    """A layer of images and label maps whose list names them."""

    other_settings: ClassVar[tuple[str, ...]] = ("transform_param",)

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        """Unknown without the images, but where a size stands in for theirs.

        Tops that the net does not name are made all the same (net.cpp, AutoTopBlobs).
        """
        self.check_transform()
        tops = max(len(self.proto.top), self.tops.least)
        return [self.images(), *[None] * (tops - 1)]
