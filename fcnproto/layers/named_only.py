"""Layers of detection nets and of chip makers' forks: known by name, neither checked nor computed.

What their settings hold is passed over (proto/unread.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from fcnproto.layers.base import Layer, at_least, between, exactly
from fcnproto.layers.known import Detection, Known
from fcnproto.types import Shape


class Yolov3DetectionOutput(Detection):
    """Boxes from the scores of YOLO v3."""

    type = "Yolov3DetectionOutput"
    fork = "MobileNet-YOLO"
    bottoms = at_least(1)


class YoloDetectionOutput(Detection):
    """Boxes from the scores of YOLO v2."""

    type = "YoloDetectionOutput"
    fork = "MobileNet-YOLO"
    bottoms = at_least(1)


class Yolov3(Detection):
    """The loss of YOLO v3."""

    type = "Yolov3"
    fork = "MobileNet-YOLO"
    bottoms = at_least(2)
    auto_top = True
    measures = True


class RegionLoss(Detection):
    """The loss of YOLO v2."""

    type = "RegionLoss"
    fork = "MobileNet-YOLO"
    bottoms = at_least(2)
    auto_top = True
    measures = True


class YoloSeg(Known):
    """The loss of the label map that YOLO gives besides its boxes."""

    type = "YoloSeg"
    fork = "MobileNet-YOLO"
    bottoms = at_least(2)
    auto_top = True
    measures = True


class SegmentationEvaluate(Known):
    """How well a label map fits the true one."""

    type = "SegmentationEvaluate"
    fork = "MobileNet-YOLO"
    bottoms = exactly(2)
    measures = True


class Reorg(Detection):
    """Blocks of pixels made into channels, for YOLO's boxes."""

    type = "Reorg"
    fork = "MobileNet-YOLO"


class EvalDetection(Detection):
    """How well YOLO's boxes fit the true ones."""

    type = "EvalDetection"
    fork = "intel"
    bottoms = at_least(2)


class DetectionOutputRefine(Detection):
    """Boxes that are refined twice."""

    type = "DetectionOutputRefine"
    fork = "xilinx"
    bottoms = at_least(3)


class DetectionEvaluateRefine(Detection):
    """How well refined boxes fit the true ones."""

    type = "DetectionEvaluateRefine"
    fork = "xilinx"
    bottoms = at_least(2)


class ROIWarping(Detection):
    """Regions, resized."""

    type = "ROIWarping"
    fork = "mnc"
    bottoms = at_least(2)


class MaskResize(Detection):
    """Masks of regions, resized."""

    type = "MaskResize"
    fork = "mnc"


class Proposal(Detection):
    """The regions in which objects are looked for."""

    type = "Proposal"
    fork = "r-fcn"
    bottoms = at_least(2)
    tops = between(1, 2)


class CPMData(Known):
    """Images of people and the maps of their joints, from a database."""

    type = "CPMData"
    fork = "openpose"
    other_settings = ("transform_param", "data_param")
    bottoms = exactly(0)
    tops = exactly(2)
    feeds = True


class SegData(Known):
    """Images and label maps from files."""

    type = "SegData"
    fork = "action recognition"
    other_settings = ("transform_param",)
    bottoms = exactly(0)
    tops = at_least(1)
    feeds = True


class EltwiseAccuracy(Known):
    """The share of pixels whose label is right."""

    type = "EltwiseAccuracy"
    fork = "deconvnet"
    bottoms = exactly(2)
    measures = True


class SegmentPixelIOU(Known):
    """The mean IU of a label map."""

    type = "SegmentPixelIOU"
    fork = "xilinx"
    bottoms = exactly(2)
    tops = at_least(0)
    measures = True


class DeephiResize(Known):
    """Images resized to a fixed size, by a rule that is not published."""

    type = "DeephiResize"
    fork = "xilinx"


class FixedNeuron(Layer):
    """Values rounded to fixed point, whose point each blob has of its own."""

    type = "FixedNeuron"
    fork = "xilinx"

    def output_shapes(self, bottoms: Sequence[Shape]) -> Sequence[Shape]:
        """The bottom's."""
        return [bottoms[0]]


class _Box(Detection, registered=False):
    """One of the layers that many repositories have, each with settings of its own."""

    bottoms = at_least(0)
    tops = at_least(0)


class _BoxLoss(_Box, registered=False):
    """The same, where it compares its first bottom with boxes that are given."""

    auto_top = True
    measures = True


# Many repositories have these, each with settings of its own.
_BOXES = {
    "faster-rcnn": "AnchorTarget BoxGroupOutput DecodeBBox ProposalTarget PSROIAlign ROIAlign",
    "ssd": "DensePriorBox",
    "yolo": "Region",
}
_BOX_LOSSES = {"yolo": "DetectionLoss"}

for _base, _forks in ((_Box, _BOXES), (_BoxLoss, _BOX_LOSSES)):
    for _fork, _types in _forks.items():
        for _type in _types.split():
            type(_type, (_base,), {"type": _type, "fork": _fork, "__doc__": _base.__doc__})
