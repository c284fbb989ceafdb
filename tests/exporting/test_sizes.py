"""The sizes of images that data layers do not say outright."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner

from fcnproto.cli import main

SCORE = """layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 4 kernel_size: 1 } }
"""
UPSAMPLED = """layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" top: "mask"
  pooling_param { kernel_size: 8 stride: 8 } }
layer { name: "up" type: "Upsample" bottom: "pool" bottom: "mask" top: "up"
  upsample_param { scale: 8 upsample_h: 360 upsample_w: 480 } }
layer { name: "score" type: "Eltwise" bottom: "up" bottom: "data" top: "score" }
"""


def sizes(text: str, folder: Path) -> list[int]:
    """The height and width of the input of the model that export-onnx writes."""
    (folder / "net.prototxt").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(main, ["export-onnx", "net.prototxt", "--init"])
    assert result.exit_code == 0, result.output
    model = onnx.load(folder / "net.onnx")
    return [each.dim_value for each in model.graph.input[0].type.tensor_type.shape.dim[2:]]


@pytest.mark.parametrize(
    "layer",
    [
        'type: "ImageData" image_data_param { source: "list" new_height: 64 new_width: 96 }'
        " transform_param { resize_param { height: 360 width: 480 } }",
        'type: "DenseImageData" dense_image_data_param { source: "list" }',
        'type: "DenseImageData" dense_image_data_param { source: "list" crop_height: 360'
        " crop_width: 480 }",
        'type: "ImageSegData" image_data_param { source: "list" }'
        ' transform_param { crop_height: 360 crop_width: 480 } top: "size"',
    ],
)
def test_a_net_of_one_oblong_size_is_given_it(layer: str, tmp_path: Path) -> None:
    text = f'layer {{ name: "data" top: "data" top: "label" {layer} }}' + UPSAMPLED
    assert sizes(text, tmp_path) == [360, 480]
