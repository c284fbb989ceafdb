"""Layers of forks that are recognized and not computed: detection, training data, measures.

Each says its name, its fork and how many blobs it takes and gives, so that the rest of a net that
has it can be read and checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fcnproto.layers.base import BOXES, Layer, at_least, between, exactly
from fcnproto.types import Shape

if TYPE_CHECKING:
    pass


class Known(Layer):
    """A layer of which no more is known than its name and arity."""

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape | None]:
        """Unknown, but for images (of 3 channels) of data layers where a size is given."""
        shapes: list[Shape | None] = [None] * len(self.proto.top)
        if self.feeds and self.context.size is not None and shapes:
            shapes[0] = (1, 3, *self.context.size)
        return shapes


class Detection(Known, registered=False):
    """A layer of a net that finds boxes."""

    detects = True

    def obstacle(self) -> str:
        """Boxes: what a model gives here is a score or a label for each pixel."""
        return BOXES


class AnnotatedData(Known):
    """Images and their boxes from a database."""

    type = "AnnotatedData"
    fork = "ssd"
    settings = "annotated_data_param"
    other_settings = ("transform_param", "data_param")
    bottoms = exactly(0)
    feeds = True
    tops = between(1, 2)


class DetectionEvaluate(Detection):
    """How well detections fit the true boxes."""

    type = "DetectionEvaluate"
    fork = "ssd"
    settings = "detection_evaluate_param"
    bottoms = exactly(2)


class DetectionOutput(Detection):
    """Boxes from locations, confidences and priors, without those that overlap."""

    type = "DetectionOutput"
    fork = "ssd"
    settings = "detection_output_param"
    bottoms = between(3, 4)


class MultiBoxLoss(Detection):
    """The loss of boxes' locations and classes."""

    type = "MultiBoxLoss"
    fork = "ssd"
    settings = "multibox_loss_param"
    bottoms = exactly(4)
    auto_top = True
    measures = True


class PriorBox(Detection):
    """The boxes that detections start from."""

    type = "PriorBox"
    fork = "ssd"
    settings = "prior_box_param"
    bottoms = exactly(2)


class VideoData(Known):
    """Frames of a video or a camera."""

    type = "VideoData"
    fork = "ssd"
    settings = "video_data_param"
    other_settings = ("transform_param", "data_param")
    bottoms = exactly(0)
    feeds = True
    tops = at_least(1)


class AdaptiveBiasChannel(Known):
    """Scores, biased so that given labels win in parts of the image."""

    type = "AdaptiveBiasChannel"
    fork = "pspnet"
    settings = "adaptive_bias_channel_param"
    bottoms = exactly(2)


class BiasChannel(Known):
    """Scores, with a bias for given labels."""

    type = "BiasChannel"
    fork = "pspnet"
    settings = "bias_channel_param"
    bottoms = exactly(2)


class DenseCRF(Known):
    """Mean-field inference in a fully connected random field."""

    type = "DenseCRF"
    fork = "pspnet"
    settings = "dense_crf_param"
    bottoms = at_least(2)


class DomainTransform(Known):
    """Filtering that keeps edges."""

    type = "DomainTransform"
    fork = "pspnet"
    settings = "domain_transform_param"
    bottoms = exactly(3)


class MatRead(Known):
    """An array from MATLAB files."""

    type = "MatRead"
    fork = "pspnet"
    settings = "mat_read_param"
    bottoms = exactly(0)
    feeds = True


class MatWrite(Known):
    """Its bottoms, written to MATLAB files."""

    type = "MatWrite"
    fork = "pspnet"
    settings = "mat_write_param"
    bottoms = at_least(0)
    tops = exactly(0)
    writes = True


class UniqueLabel(Known):
    """The labels that occur in a label map."""

    type = "UniqueLabel"
    fork = "pspnet"
    settings = "unique_label_param"


class WindowSegData(Known):
    """Windows of images, and their label maps."""

    type = "WindowSegData"
    fork = "deconvnet"
    settings = "window_data_param"
    other_settings = ("transform_param",)
    bottoms = exactly(0)
    feeds = True
    tops = between(2, 3)


class DetectNetTransformation(Known):
    """Images, changed at random, and boxes drawn into a grid, for training."""

    type = "DetectNetTransformation"
    fork = "nvcaffe"
    bottoms = exactly(2)
    tops = exactly(2)


class ROIPooling(Detection):
    """The maxima of regions' parts."""

    type = "ROIPooling"
    fork = "fast-rcnn, ssd"
    settings = "roi_pooling_param"
    bottoms = exactly(2)


class SmoothL1Loss(Detection):
    """A loss that is quadratic near 0 and linear beyond."""

    type = "SmoothL1Loss"
    fork = "fast-rcnn, ssd"
    settings = "smooth_l1_loss_param"
    bottoms = between(2, 4)
    auto_top = True
    measures = True


class PSROIPooling(Detection):
    """The means of regions' parts, each of its own channels."""

    type = "PSROIPooling"
    fork = "r-fcn"
    settings = "psroi_pooling_param"
    bottoms = exactly(2)


class BoxAnnotatorOHEM(Detection):
    """The labels and weights of the boxes with the greatest loss."""

    type = "BoxAnnotatorOHEM"
    fork = "r-fcn"
    settings = "box_annotator_ohem_param"
    bottoms = exactly(4)
    tops = exactly(2)


class SmoothL1LossOHEM(Detection):
    """SmoothL1Loss, with each box's loss as a second top."""

    type = "SmoothL1LossOHEM"
    fork = "r-fcn"
    settings = "smooth_l1_loss_param"
    bottoms = between(2, 3)
    tops = between(1, 2)
    auto_top = True
    measures = True


class SoftmaxWithLossOHEM(Detection):
    """SoftmaxWithLoss, with each box's loss and the probabilities as further tops."""

    type = "SoftmaxWithLossOHEM"
    fork = "r-fcn"
    settings = "softmax_param"
    bottoms = exactly(2)
    tops = between(1, 3)
    auto_top = True
    measures = True
