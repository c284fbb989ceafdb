"""What layers that read images or other data from files share."""

from __future__ import annotations

from typing import ClassVar

from fcnproto.layers.base import Kind, Layer, exactly, require

FIRST_FORK_FIELD = 10000  # see proto/caffe.proto


class Source(Layer):
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

    def sized_by_fork(self) -> bool:
        """Whether transform_param has fields of a fork, which size images in ways of their own."""
        fields = self.proto.transform_param.ListFields()
        return any(field.number >= FIRST_FORK_FIELD for field, _ in fields)
