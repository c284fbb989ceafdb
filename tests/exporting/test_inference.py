"""What data layers say of images, outright or not: their size, mean and scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main
from fcnproto.runtime.segmenter import Segmenter

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


@pytest.mark.parametrize("options", [(), ("--image-input",)])
def test_a_data_layers_mean_and_scale_are_the_models(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    """Where pixels less the mean, scaled and summed, are more than 40."""
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    Image.fromarray(image).save(tmp_path / "image.png")
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "data" type: "ImageData" top: "data" top: "label" include { phase: TRAIN }'
        ' image_data_param { source: "list" } transform_param { scale: 0.5'
        " mean_value: 1 mean_value: 2 mean_value: 3 } }"
        'layer { name: "score" type: "Convolution" bottom: "data" top: "score"'
        " convolution_param { num_output: 1 kernel_size: 1"
        ' weight_filler { type: "constant" value: 1 } bias_filler { value: -40 } } }'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        result = CliRunner().invoke(main, ["export-onnx", "net.prototxt", "--init", *options])
        assert result.exit_code == 0, result.output
        assert "mean of input" not in result.output
        labels = Segmenter("net.onnx")("image.png").labels
    wanted = 0.5 * (image.astype(np.float32) - [3, 2, 1]).sum(axis=2) > 40
    assert wanted.any() and not wanted.all()
    np.testing.assert_array_equal(labels, wanted)


def test_data_of_fewer_tops_than_caffe_makes_are_exported(tmp_path: Path) -> None:
    """ImageSegData with two of its three tops, as DeepLab's nets are trained."""
    data = (
        'layer { name: "data" type: "ImageSegData" top: "data" top: "label"'
        ' image_data_param { source: "list" } transform_param { crop_size: 32 } }'
    )
    assert sizes(data + SCORE, tmp_path) == [0, 0]  # open


def test_a_crop_to_one_size_fixes_the_image(tmp_path):
    """Of a larger image only a corner would be left, which would be taken for the whole."""
    text = (
        'layer { name: "data" type: "Input" top: "data" input_param { shape {'
        " dim: 1 dim: 3 dim: 40 dim: 48 } } }"
        'layer { name: "k" type: "DummyData" top: "k" dummy_data_param { shape {'
        " dim: 1 dim: 3 dim: 32 dim: 40 } } }"
        'layer { name: "cut" type: "Crop" bottom: "data" bottom: "%s" top: "cut" crop_param {'
        " axis: 2 offset: %d } }"
    )
    assert sizes(text % ("k", 3) + SCORE, tmp_path) == [40, 48]
    assert sizes(text % ("data", 0) + SCORE, tmp_path) != [40, 48]


def test_rows_and_columns_that_can_only_grow_apart(tmp_path):
    """H × 48 and 32 × W hold whole rows of 16, 33 × 49 does not: one of them is fixed."""
    text = (
        'layer { name: "data" type: "Input" top: "data" input_param { shape {'
        " dim: 1 dim: 3 dim: 32 dim: 48 } } }"
        'layer { name: "rows" type: "Reshape" bottom: "data" top: "rows" reshape_param { shape {'
        " dim: 0 dim: 0 dim: -1 dim: 16 } } }"
    )
    assert sizes(text, tmp_path) == [0, 48]
    Image.new("RGB", (33, 17)).save(tmp_path / "i.png")
    arguments = ["segment", tmp_path / "i.png", "--model", tmp_path / "net.onnx", "--mean", "0,0,0"]
    result = CliRunner().invoke(main, [*map(str, arguments), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output


def test_a_net_that_scrambles_at_its_own_size_is_warned_of(tmp_path):
    """Caffe computes it too: places counted in rows of 8 are taken in rows of 9."""
    text = (
        'layer { name: "data" type: "Input" top: "data" input_param { shape {'
        " dim: 1 dim: 3 dim: 8 dim: 8 } } }"
        'layer { name: "pool" type: "Pooling" bottom: "data" top: "pool" top: "mask"'
        ' pooling_param { kernel_size: 2 stride: 2 } } layer { name: "up" type: "Upsample"'
        ' bottom: "pool" bottom: "mask" top: "up" upsample_param { upsample_h: 9 upsample_w: 9 } }'
    )
    (tmp_path / "net.prototxt").write_text(text)
    model = tmp_path / "m.onnx"
    arguments = ["export-onnx", str(tmp_path / "net.prototxt"), "--init", "-o", str(model)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert result.output.count("warning: layer 'up'") == 1
    assert "values land elsewhere" in result.output


def test_an_input_of_no_axes_is_a_scalar(tmp_path: Path) -> None:
    """A shape without dims is a shape (blob.cpp, Reshape); without one, images are meant."""
    data = (
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4'
        ' dim: 5 } } } layer { name: "k" type: "Input" top: "k" input_param { %s } }'
    )
    net = 'layer { name: "score" type: "Scale" bottom: "data" bottom: "k" top: "score" %s }'
    (tmp_path / "net.prototxt").write_text(data % "shape { }" + net % "scale_param { axis: 0 }")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        result = CliRunner().invoke(main, ["export-onnx", "net.prototxt", "--init"])
    assert result.exit_code == 0, result.output
    assert "'k'" not in result.output
    model = onnx.load(tmp_path / "net.onnx")
    assert [len(each.type.tensor_type.shape.dim) for each in model.graph.input] == [4, 0]
    image = np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    score, *_ = session.run(["score"], {"data": image, "k": np.array(0.5, np.float32)})
    np.testing.assert_array_equal(score, image * 0.5)

    power = 'layer { name: "y" type: "Power" bottom: "k" top: "y" }'
    (tmp_path / "net.prototxt").write_text(data % "" + power)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        result = CliRunner().invoke(main, ["export-onnx", "net.prototxt", "--init", "--force"])
    assert "'k' is taken as N×3×H×W" in result.output
