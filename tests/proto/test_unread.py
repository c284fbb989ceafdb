"""Fields and layers that are known by name and not read, and blanks of templates."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fcnproto.cli import main
from fcnproto.errors import LayerError
from fcnproto.layers.loss import Labels
from fcnproto.proto import caffe_pb2
from fcnproto.proto.caffe_pb2 import LossParameter
from fcnproto.proto.unread import UNREAD

INPUT = """layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } } }
"""
SCORE = """layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
"""


def run(verb: str, text: str, folder: Path, *options: str) -> Result:
    (folder / "net.prototxt").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return CliRunner().invoke(main, [verb, "net.prototxt", *options])


def test_deeplab_ignores_several_labels(tmp_path: Path) -> None:
    loss = (
        'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 dim: 1'
        ' dim: 16 dim: 16 } } } layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score"'
        ' bottom: "label" softmaxloss_param { ignore_label: 255 ignore_label: 0 } }'
    )
    checked = run("check", INPUT + SCORE + loss, tmp_path)
    assert checked.exit_code == 1
    assert "layer 'loss': softmaxloss_param ignores the labels 0, 255" in checked.output


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            INPUT + SCORE + 'layer { name: "bn" type: "BatchNorm" bottom: "score" top: "bn"'
            " batch_norm_param { filler { value: 1 } } }",
            "filler is a field of Intel's Caffe for training",
        ),
        (
            'layer { name: "data" type: "VideoData" top: "data" video_data_param { source: "list"'
            " num_segments: 3 modality: RGB } transform_param { crop_size: 16 fix_crop: true } }"
            + SCORE,
            "modality is a field of the Caffe of action recognition for training",
        ),
        (
            'layers { name: "data" type: IMAGE_SEG_DATA top: "data" top: "label" top: "size"'
            ' image_data_param { source: "list" has_label: false } }'
            'layers { name: "score" type: CONVOLUTION bottom: "data" top: "score"'
            " convolution_param { num_output: 4 kernel_size: 1 } }"
            'layers { name: "right" type: ELTWISE_ACCURACY bottom: "score" bottom: "label"'
            ' top: "right" eltwise_accuracy_param { ignore_label: 255 } }',
            "eltwise_accuracy_param is a field of the Caffe of DeepLab for training",
        ),
        (
            INPUT + SCORE + 'layer { name: "label" type: "Input" top: "label" input_param { shape {'
            ' dim: 1 dim: 1 dim: 16 dim: 16 } } } layer { name: "loss" type: "SoftmaxWithLoss"'
            ' bottom: "score" bottom: "label" softmaxloss_param { weight_source: "w.txt" } }',
            "weight_source is a field of the Caffe of DeepLab for training",
        ),
    ],
)
def test_training_only_fields_are_noted_and_the_net_is_exported(
    text: str, said: str, tmp_path: Path
) -> None:
    checked = run("check", text, tmp_path)
    assert checked.exit_code == 0, checked.output
    assert f"{said}, and has no effect here" in checked.output
    exported = run("export-onnx", text, tmp_path, "--init")
    assert exported.exit_code == 0, exported.output


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ("yolov3_detection_output_param { num_classes: 20 }", "Yolov3DetectionOutput"),
        ("deephi_resize_param { new_height: 512 new_width: 1024 }", "DeephiResize"),
        ("fixed_param { bit_width: 8 fixed_method: DIFF_S }", "FixedNeuron"),
        ("roi_warping_param { pooled_h: 7 }", "ROIWarping"),
    ],
)
def test_layers_known_by_name_are_refused_at_export_and_nowhere_else(
    settings: str, kind: str, tmp_path: Path
) -> None:
    second = ' bottom: "data"' * (kind == "ROIWarping")
    last = f'layer {{ name: "last" type: "{kind}" bottom: "score"{second} top: "last" {settings} }}'
    text = INPUT + SCORE + last
    checked = run("check", text, tmp_path)
    assert checked.exit_code == 0, checked.output
    assert "that is not computed here" in checked.output
    exported = run("export-onnx", text, tmp_path, "--init")
    assert exported.exit_code == 1
    assert kind in exported.output
    assert exported.output.count("error") == 1
    assert not list(tmp_path.glob("*.onnx"))


def test_a_field_that_is_read_is_not_among_those_that_are_not() -> None:
    for message, field in UNREAD:
        assert field not in getattr(caffe_pb2, message).DESCRIPTOR.fields_by_name


def test_a_loss_divided_by_a_forks_rule_is_read_and_not_trained(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    text = (
        INPUT + 'layer { name: "label" type: "Input" top: "label"'
        " input_param { shape { dim: 1 dim: 1 dim: 16 dim: 16 } } }"
        + SCORE
        + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"'
        " loss_param { normalization: PRE_FIXED } }"
    )
    assert run("check", text, tmp_path).exit_code == 0
    labels = Labels(torch.zeros(4), torch.zeros(4, dtype=torch.bool), torch.tensor(4))
    with pytest.raises(LayerError, match="PRE_FIXED is of a fork"):
        labels.divisor(LossParameter.PRE_FIXED, 1)


def test_a_blank_of_a_template_is_called_one(tmp_path: Path) -> None:
    text = INPUT + SCORE.replace("num_output: 4", "num_output: ${NUM_LABELS}")
    result = run("check", text, tmp_path)
    assert result.exit_code == 1
    assert (
        "error: layer 'score': '${NUM_LABELS}' is a blank of a template: put a whole number from 0"
        in result.output
    )


def test_memory_data_gives_the_sizes_of_its_images_as_deeplabs_does(tmp_path: Path) -> None:
    text = (
        'layers { name: "data" type: MEMORY_DATA top: "data" top: "label" top: "data_dim"'
        " memory_data_param { batch_size: 1 channels: 3 height: 33 width: 33 } }"
        'layers { name: "score" type: CONVOLUTION bottom: "data" top: "score"'
        " convolution_param { num_output: 4 kernel_size: 1 } }"
        'layers { name: "silence" type: SILENCE bottom: "label" bottom: "data_dim" }'
    )
    assert run("check", text, tmp_path).exit_code == 0
    exported = run("export-onnx", text, tmp_path, "--init")
    assert exported.exit_code == 0, exported.output
