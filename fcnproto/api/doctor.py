"""What is wrong with weights, and with what they make of photos."""

from __future__ import annotations

import numpy as np

from fcnproto.api.lines import Lines
from fcnproto.api.net import NetLike, as_net
from fcnproto.api.weights import WeightsLike, load_weights
from fcnproto.insight import doctor as examining
from fcnproto.insight.doctor import Finding, text
from fcnproto.insight.doctor_scores import examine_image
from fcnproto.runtime.segmenter import ImageLike, image_of


class Findings(Lines[Finding]):
    """What is wrong with weights, and what to do about each."""

    def __str__(self) -> str:
        return text(self).rstrip("\n")


@np.errstate(all="ignore")  # numbers that are not finite are findings, not warnings of numpy's
def doctor(
    net: NetLike,
    weights: WeightsLike,
    *photos: ImageLike,
) -> Findings:
    """What is wrong with weights in a net and, with photos, with what they make of these.

    Raises NetError if Caffe would refuse the net, ImageError if an image cannot be read.
    """
    loaded, arrays = as_net(net), load_weights(weights).by_layer
    findings = examining.examine(loaded.graph, arrays, loaded.zoo_name)
    for photo in photos:
        rgb = image_of(photo)
        findings += examine_image(loaded.graph, arrays, rgb, loaded.zoo_name)
    return Findings(findings)
