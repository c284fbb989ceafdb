"""render.py: the published nets as they were, and ours against shapes and coordinates."""

import ast
import copy
from dataclasses import replace
from itertools import product

import pytest
from google.protobuf import text_format
from paths import PUBLISHED

from fcnproto.errors import FcnprotoError, ZooError
from fcnproto.net import coords, graph, shapes
from fcnproto.proto.caffe_pb2 import NetParameter, SolverParameter
from fcnproto.proto.source import parse_net
from fcnproto.rendering.fcn import render, render_solver
from fcnproto.zoo import kinds, specs

NAMES = sorted(PUBLISHED.iterdir())
FCNS = [folder.name for folder in NAMES if not folder.name.startswith("bvlc")]
FILES = [
    (folder.name, path)
    for folder in NAMES
    for path in sorted(folder.glob("*.prototxt"))
    if path.name != "solver.prototxt"
]
PHASES = {
    "deploy": "deploy",
    "train": "train",
    "trainval": "train",
    "val": "val",
    "test": "val",
}
OURS = ("fcn32s", "fcn16s", "fcn8s", "fcn8s-atonce")
PUBLISHEDBACKBONES = ("vgg16", "alexnet", "caffenet", "googlenet")
BACKBONES = (*PUBLISHEDBACKBONES, "vgg-small")
COMBINATIONS = list(product(OURS, BACKBONES))
PADS = {
    ("fcn32s", "vgg16"): 100,
    ("fcn16s", "vgg16"): 100,
    ("fcn8s", "vgg16"): 100,
    ("fcn32s", "alexnet"): 101,
    ("fcn16s", "alexnet"): 109,
    ("fcn8s", "alexnet"): 113,
    ("fcn32s", "googlenet"): 19,
    ("fcn16s", "googlenet"): 27,
    ("fcn8s", "googlenet"): 31,
}


def parsed(text, kind=NetParameter):
    return text_format.Parse(text, kind())


def layers(net):
    return {layer.name: layer for layer in net.layer}


def of_type(net, kind):
    return [layer for layer in net.layer if layer.type == kind]


def built(text, size=None):
    """A net's graph, its Input of another size if one is given."""
    source = parse_net(text)
    if size is not None:
        for shape in source.net.layer[0].input_param.shape:
            shape.dim[2:] = size
    return graph.build(source)


# Published nets.


@pytest.mark.parametrize(("name", "path"), FILES, ids=lambda value: getattr(value, "name", value))
def test_published_nets_are_as_they_were(name, path):
    rendered = parsed(render(name, phase=PHASES[path.stem]))
    if path.stem == "deploy" and not name.startswith("bvlc"):
        # The one thing added: a name, by which export knows what the net is for.
        assert rendered.name == name
        rendered.ClearField("name")
    assert rendered == parsed(path.read_text())


@pytest.mark.parametrize("name", FCNS)
def test_published_solvers_are_as_they_were(name, published):
    expected = parsed((published / name / "solver.prototxt").read_text(), SolverParameter)
    assert parsed(render_solver(name), SolverParameter) == expected


@pytest.mark.parametrize("name", FCNS)
def test_published_nets_deploy(name, published):
    """As the one that was published: no data layer, no dropout, no loss; an Input instead."""
    train = parsed(next((published / name).glob("train*.prototxt")).read_text())
    expected = [
        layer for layer in train.layer if layer.type not in ("Python", "Dropout", "SoftmaxWithLoss")
    ]
    net = parsed(render(name))
    assert list(net.layer[1:]) == expected
    (image,) = of_type(net, "Input")
    labels = ("label", "sem", "geo")
    assert list(image.top) == [top for top in train.layer[0].top if top not in labels]
    channels = {"depth": 1}
    assert [list(shape.dim) for shape in image.input_param.shape] == [
        [1, channels.get(top, 3), 500, 500] for top in image.top
    ]


@pytest.mark.parametrize("name", FCNS)
def test_published_nets_score_every_pixel(name):
    net = built(render(name), (97, 131))
    found = shapes.infer(net)
    scores = [output for output in net.outputs if output.startswith("score")]
    assert len(scores) == len(specs.dataset(specs.net(name).dataset).labels)
    for score in scores:
        assert found.blobs[score][2:] == (97, 131)


@pytest.mark.parametrize("name", FCNS)
@pytest.mark.parametrize("phase", ["train", "val"])
def test_the_folder_of_the_data_can_be_changed(name, phase):
    before = parsed(render(name, phase=phase)).layer[0].python_param.param_str
    after = parsed(render(name, phase=phase, data_dir="/d/it's\\"))
    old = ast.literal_eval(before)
    new = ast.literal_eval(after.layer[0].python_param.param_str)
    root = specs.net(name).data_root
    assert list(new) == list(old)
    for key, value in old.items():
        if key.endswith("_dir"):
            assert value.startswith(root + "/")
            assert new[key] == "/d/it's\\" + value.removeprefix(root)
        else:
            assert new[key] == value


def test_a_slash_behind_the_folder_of_the_data_is_not_doubled():
    for folder, path in (("x/", "x/nyud"), ("/", "/nyud"), (".", "./nyud")):
        text = render("nyud-fcn32s-hha", phase="val", data_dir=folder)
        settings = ast.literal_eval(parsed(text).layer[0].python_param.param_str)
        assert settings["nyud_dir"] == path


def test_published_nets_take_options_that_change_nothing():
    text = render("voc-fcn8s", dataset="voc", backbone="vgg16", classes=21, pad=100, recipe="heavy")
    assert parsed(text) == parsed(render("voc-fcn8s"))


# Ours.


@pytest.mark.slow
@pytest.mark.parametrize(("net", "backbone"), COMBINATIONS)
@pytest.mark.parametrize("phase", ["deploy", "train", "val"])
def test_ours_build_in_every_phase(net, backbone, phase):
    for classes in (2, 21, 60):
        text = render(net, phase=phase, backbone=backbone, classes=classes)
        built(text)
        tops = {layer.top[0]: layer for layer in parsed(text).layer}
        assert tops["score_fr"].convolution_param.num_output == classes
        assert ("loss" in tops) == (phase != "deploy")


@pytest.mark.parametrize(("net", "backbone"), COMBINATIONS)
def test_ours_score_every_pixel_of_every_size(net, backbone):
    text = render(net, backbone=backbone, classes=2)
    sizes = [(1, 1), (1, 600), (600, 1), (2, 3), (31, 33), (65, 64), (97, 131), (599, 600)]
    for size in sizes:
        assert shapes.infer(built(text, size)).blobs["score"] == (1, 2, *size)


@pytest.mark.parametrize(("net", "backbone"), COMBINATIONS)
def test_ours_lie_on_the_image(net, backbone):
    text = render(net, backbone=backbone)
    found = built(text)
    alignment = coords.align(found, "score", "data")
    assert (alignment.rows, alignment.columns) == (0, 0)
    crops = of_type(parsed(text), "Crop")
    assert len(crops) == len(specs.net(net).strides)
    for crop in crops:
        (offset,) = crop.crop_param.offset
        assert coords.crop_offset(found, *crop.bottom) == (offset, offset)


@pytest.mark.parametrize("name", FCNS)
def test_published_nets_lie_on_the_image(name):
    """So ours and theirs are of the same pixels."""
    found = built(render(name))
    for output in found.outputs:
        image = found.inputs[0] if "data" not in found.producers else "data"
        alignment = coords.align(found, output, image)
        assert (alignment.rows, alignment.columns) == (0, 0)


@pytest.mark.parametrize(("net", "backbone"), list(PADS))
def test_first_pads(net, backbone):
    """The smallest with which shapes.py finds nothing wrong at any size."""
    text = render(net, backbone=backbone, classes=2)
    pad = PADS[net, backbone]
    first = of_type(parsed(text), "Convolution")[0]
    assert list(first.convolution_param.pad) == [pad]
    assert f"# First pad {pad}: " in text

    smallest = 97 if backbone == "vgg16" else pad
    assert all(fits(net, backbone, smallest, size) for size in range(1, 66))
    assert not all(fits(net, backbone, smallest - 1, size) for size in range(1, 66))


def fits(net, backbone, pad, size, texts={}):  # noqa: B006 - each net is rendered once
    if (net, backbone) not in texts:
        texts[net, backbone] = parse_net(render(net, backbone=backbone, classes=2))
    source = copy.deepcopy(texts[net, backbone])
    source.net.layer[0].input_param.shape[0].dim[2:] = (size, size)
    first, last = of_type(source.net, "Convolution")[0], of_type(source.net, "Crop")[-1]
    offset = last.crop_param.offset[0] + pad - first.convolution_param.pad[0]
    if offset < 0:
        return False
    last.crop_param.offset[0] = offset
    first.convolution_param.pad[0] = pad
    try:
        shapes.infer(graph.build(source))
    except FcnprotoError:
        return False
    return True


@pytest.mark.parametrize(("net", "backbone"), COMBINATIONS)
def test_upsampling_is_as_the_papers(net, backbone):
    """2f - f % 2 on VGGs; 2f - 1 behind 3×3 pools of stride 2, where it would be half a pixel."""
    text = render(net, backbone=backbone, classes=7)
    for layer in of_type(parsed(text), "Deconvolution"):
        param = layer.convolution_param
        (factor,), (kernel,), (pad,) = param.stride, param.kernel_size, param.pad
        assert kernel == (2 * factor if backbone.startswith("vgg") else 2 * factor - 1)
        assert pad == factor // 2
        assert (param.num_output, param.group, param.bias_term) == (7, 7, False)
        assert param.weight_filler.type == "bilinear"
        (rates,) = layer.param
        assert (rates.lr_mult, rates.decay_mult) == (0, 0)
    rule = "# 2f - f % 2 for f = " if backbone.startswith("vgg") else "# 2f - 1 for f = "
    assert text.count(rule) == len(specs.net(net).strides)


def test_skips_are_taken_where_the_strides_are():
    bottoms = {
        "vgg16": ["fc7", "pool4", "pool3"],
        "alexnet": ["fc7", "pool2", "pool1"],
        "caffenet": ["fc7", "pool2", "pool1"],
        "googlenet": ["inception_5b/output", "inception_4e/output", "inception_3b/output"],
    }
    for backbone, expected in bottoms.items():
        net = parsed(render("fcn8s", backbone=backbone))
        convolutions = of_type(net, "Convolution")
        scores = [layer for layer in convolutions if layer.name.startswith("score_")]
        assert [layer.bottom[0] for layer in scores] == expected
        for score in scores:
            assert score.convolution_param.weight_filler.type == "constant"
            assert score.convolution_param.weight_filler.value == 0
            assert [rates.lr_mult for rates in score.param] == [1, 2]


def test_an_fcn_has_nothing_of_the_classifier():
    names = layers(parsed(render("fcn32s", backbone="googlenet", phase="train")))
    assert not any(name.startswith(("pool5", "loss3", "prob")) for name in names)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_at_once_scales_its_skips(backbone):
    net = parsed(render("fcn8s-atonce", backbone=backbone))
    # A backbone may scale the image too; the skips come after it.
    scales = [layer.scale_param.filler.value for layer in of_type(net, "Scale")][-2:]
    assert scales == pytest.approx([0.01, 0.0001])
    plain = parsed(render("fcn8s", backbone=backbone))
    assert len(net.layer) == len(plain.layer) + 2


@pytest.mark.parametrize("dataset", list(specs.datasets()))
@pytest.mark.parametrize("phase", ["train", "val"])
def test_ours_read_every_dataset(dataset, phase):
    net = parsed(render("fcn16s", phase=phase, dataset=dataset, backbone="alexnet"))
    spec = specs.dataset(dataset)
    data, *rest = net.layer
    assert list(data.top) == ["data", *(label.name for label in spec.labels)]
    ast.literal_eval(data.python_param.param_str)
    scores = {layer.top[0]: layer for layer in rest if layer.type == "Convolution"}
    for label in spec.labels:
        found = scores["score_fr" + label.suffix].convolution_param.num_output
        assert found == len(label.classes)
    losses = of_type(net, "SoftmaxWithLoss")
    assert [loss.bottom[1] for loss in losses] == [label.name for label in spec.labels]
    built(render("fcn16s", phase=phase, dataset=dataset, backbone="alexnet"))


def test_recipes_agree_between_net_and_solver():
    for recipe, normalize, steps in ((None, False, 1), ("heavy", False, 1), ("batch", True, 20)):
        (loss,) = of_type(parsed(render("fcn8s", phase="train", recipe=recipe)), "SoftmaxWithLoss")
        assert loss.loss_param.normalize is normalize
        assert loss.loss_param.ignore_label == 255
        solver = parsed(render_solver("fcn8s", recipe=recipe), SolverParameter)
        assert solver.iter_size == steps


@pytest.mark.parametrize(
    ("backbone", "rate"), [("vgg-small", 2e-3), ("vgg16", 1e-4), ("alexnet", 1e-4)]
)
def test_own_data_have_recipes_that_learn(backbone, rate):
    options = {"dataset": "folder", "backbone": backbone}
    solver = parsed(render_solver("fcn32s", **options), SolverParameter)
    assert (solver.type, solver.lr_policy, solver.iter_size) == ("Adam", "poly", 2)
    assert solver.base_lr == pytest.approx(rate)
    (loss,) = of_type(parsed(render("fcn32s", phase="train", **options)), "SoftmaxWithLoss")
    assert loss.loss_param.normalize


@pytest.mark.parametrize(
    ("net", "dataset", "like"),
    [
        ("fcn32s", "voc", "voc-fcn32s"),
        ("fcn16s", "voc", "voc-fcn16s"),
        ("fcn8s", "voc", "voc-fcn8s"),
        ("fcn8s-atonce", "voc", "voc-fcn8s-atonce"),
        ("fcn8s", "siftflow", "siftflow-fcn8s"),
        ("fcn8s", "pascalcontext", "pascalcontext-fcn8s"),
        ("fcn32s", "nyud", "nyud-fcn32s-color"),
    ],
)
def test_the_heavy_recipe_is_the_published_one(net, dataset, like):
    solver = parsed(render_solver(net, dataset=dataset), SolverParameter)
    expected = parsed(render_solver(like), SolverParameter)
    expected.train_net, expected.test_net[:] = "train.prototxt", ["val.prototxt"]
    expected.snapshot, expected.snapshot_prefix = solver.snapshot, solver.snapshot_prefix
    assert solver == expected
    assert solver.momentum == pytest.approx(0.99)


@pytest.mark.parametrize(
    ("backbone", "rate"),
    [("alexnet", 1e-3), ("caffenet", 1e-3), ("vgg16", 1e-4), ("googlenet", 5e-5)],
)
def test_the_batch_recipe(backbone, rate):
    solver = parsed(render_solver("fcn16s", recipe="batch", backbone=backbone), SolverParameter)
    assert solver.base_lr == pytest.approx(rate)
    assert (solver.iter_size, solver.lr_policy) == (20, "fixed")
    assert solver.momentum == pytest.approx(0.9)
    assert solver.weight_decay == pytest.approx(5e-4)


@pytest.mark.parametrize("name", ["shapes-fcn32s", "shapes-fcn16s", "shapes-fcn8s"])
def test_nets_that_are_trained_from_nothing(name):
    solver = parsed(render_solver(name), SolverParameter)
    assert (solver.type, solver.lr_policy, solver.random_seed) == ("Adam", "poly", 1337)
    assert solver.power == pytest.approx(0.9)
    assert solver.test_interval < solver.max_iter == solver.snapshot
    net = parsed(render(name, phase="train"))
    fillers = {
        layer.name: layer.convolution_param.weight_filler.type
        for layer in of_type(net, "Convolution")
    }
    scores = {layer for layer in fillers if layer.startswith("score_")}
    assert len(scores) == len(specs.net(name).strides)
    assert {fillers[layer] for layer in scores} == {"constant"}
    assert {kind for layer, kind in fillers.items() if layer not in scores} == {"msra"}
    assert net.name == name
    assert specs.identify(name).name == "shapes"


def test_only_published_nets_name_modules_as_they_were_published():
    for net, module in (
        ("voc-fcn8s", "voc_layers"),
        ("fcn8s", "fcnproto.caffe_layers.voc_layers"),
        ("shapes-fcn8s", "fcnproto.caffe_layers.shapes_layers"),
    ):
        assert parsed(render(net, phase="train")).layer[0].python_param.module == module


def test_a_solver_says_how_to_render_its_nets():
    text = render_solver("fcn8s", recipe="batch", backbone="alexnet", data_dir="my data")
    assert (
        "#   fcnproto render fcn8s --phase train --recipe batch --data-dir 'my data'"
        " --backbone alexnet -o train.prototxt\n" in text
    )
    assert "-o trainval.prototxt\n" in render_solver("nyud-fcn32s-hha")


def test_names_are_those_that_identify_knows():
    for net, backbone, dataset in product(
        ("fcn32s", "fcn8s-atonce"), BACKBONES[:2], specs.datasets()
    ):
        text = render(net, phase="train", backbone=backbone, dataset=dataset)
        found = specs.identify(parsed(text).name)
        assert found is not None
        assert found.name == dataset


# Classifiers.


@pytest.mark.parametrize("name", BACKBONES)
def test_classifiers(name):
    net = built(render(name))
    assert shapes.infer(net).blobs["prob"] == (1, specs.net(name).classes)
    assert net.outputs == ("prob",)
    assert shapes.infer(built(render(name, classes=7))).blobs["prob"] == (1, 7)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("alexnet", "bvlc_alexnet"),
        ("caffenet", "bvlc_reference_caffenet"),
        ("googlenet", "bvlc_googlenet"),
    ],
)
def test_classifiers_have_the_published_weights(name, published):
    def weights(text):
        net = built(text)
        return {
            net.nodes[index].layer.name: [weight.shape for weight in arrays]
            for index, arrays in shapes.infer(net).weights.items()
            if arrays
        }

    assert weights(render(name)) == weights(render(published))


@pytest.mark.parametrize("name", PUBLISHEDBACKBONES)
def test_convolutional_forms(name):
    """One score where the classifier has one, and a map of them on a larger image."""
    size = specs.net(name).size
    text = render(f"{name}-conv")
    assert shapes.infer(built(text, size)).blobs["prob"] == (1, 1000, 1, 1)
    assert not of_type(parsed(text), "InnerProduct")
    larger = tuple(length + 96 for length in size)
    assert shapes.infer(built(text, larger)).blobs["prob"] == (1, 1000, 4, 4)

    plain = built(render(name))
    sizes = {
        plain.nodes[index].layer.name: sum(_count(weight.shape) for weight in arrays)
        for index, arrays in shapes.infer(plain).weights.items()
    }
    conv = built(text)
    for index, arrays in shapes.infer(conv).weights.items():
        layer = conv.nodes[index].layer.name
        count = sum(_count(weight.shape) for weight in arrays)
        assert count == sizes[layer.removesuffix("-conv")]


def _count(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def test_vgg16_conv_as_the_issue_has_it():
    found = shapes.infer(built(render("vgg16-conv"), (384, 384)))
    assert found.blobs["fc8-conv"] == (1, 1000, 6, 6)
    for name, kernel in (("vgg16-conv", 7), ("alexnet-conv", 6), ("caffenet-conv", 6)):
        fc6 = layers(parsed(render(name)))["fc6-conv"]
        assert list(fc6.convolution_param.kernel_size) == [kernel]


# How it reads.


@pytest.mark.parametrize("name", list(specs.nets()))
def test_text_is_tidy(name):
    phases = ["deploy"] if isinstance(specs.net(name), kinds.ClassifierSpec) else PHASES.values()
    for phase in phases:
        text = render(name, phase=phase)
        assert text == render(name, phase=phase)
        assert text.endswith("}\n")
        assert text.startswith("# ")
        depth = 0
        for line in text.splitlines():
            depth -= line.strip() == "}"
            assert line == line.rstrip()
            assert line.strip()
            assert line.startswith("  " * depth) and line[2 * depth] != " "
            assert len(line) <= 100 or "param_str" in line
            depth += line.endswith("{")
        assert depth == 0


def test_the_head_of_a_file_says_how_it_was_made():
    text = render("fcn8s", phase="train", backbone="alexnet", classes=5, data_dir="a b")
    assert text.splitlines()[:4] == [
        "# FCN-8s on AlexNet for PASCAL VOC 2011, 5 classes: train",
        "# fcnproto render fcn8s --phase train --data-dir 'a b' --backbone alexnet --classes 5",
        "# First pad 113: 100 is too small, 113 the smallest with which every input from 1x1 has a"
        " crop.",
        'name: "fcn8s-alexnet"',
    ]


def test_a_declared_size():
    (image,) = of_type(parsed(render("fcn8s", size=(375, 500))), "Input")
    assert list(image.input_param.shape[0].dim) == [1, 3, 375, 500]
    (image,) = of_type(parsed(render("bvlc_alexnet", size=(300, 301))), "Input")
    assert list(image.input_param.shape[0].dim) == [10, 3, 300, 301]


def test_a_pad_that_is_asked_for():
    text = render("fcn32s", pad=97)
    assert "# First pad 97, as asked: every input from 1x1 has a crop.\n" in text
    text = render("fcn32s", backbone="googlenet", pad=18, size=(100, 101))
    assert "# First pad 18, as asked: not every input has a crop; " in text
    assert shapes.infer(built(text)).blobs["score"] == (1, 21, 100, 101)


# What cannot be.


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        ("fcn8", {}, "there is no net 'fcn8'; did you mean 'fcn8s'?"),
        ("fcn8s", {"classes": 0}, "--classes must be at least 1"),
        ("fcn8s", {"classes": -3}, "--classes must be at least 1"),
        ("fcn8s", {"classes": 2**31}, "--classes must be at least 1 and fit Caffe's int"),
        ("fcn8s", {"pad": -1}, "--pad must be at least 0"),
        ("fcn8s", {"size": (0, 5)}, "--size must be at least 1x1 and fit Caffe's int, found 0x5"),
        ("fcn8s", {"phase": "test"}, "the phase must be one of deploy, train, val, found 'test'"),
        ("fcn8s", {"phase": "train", "size": (5, 5)}, "--size is for deploy nets"),
        ("fcn8s", {"data_dir": "a\nb"}, "--data-dir must be a name that can be printed"),
        ("fcn8s", {"data_dir": ""}, "--data-dir must be a name that can be printed"),
        ("fcn8s", {"backbone": "vgg19"}, "there is no backbone 'vgg19'; did you mean 'vgg16'?"),
        ("fcn8s", {"dataset": "coco"}, "there is no dataset 'coco'"),
        ("fcn8s", {"recipe": "light"}, "there is no recipe 'light'"),
        ("voc-fcn8s", {"classes": 5}, "voc-fcn8s has --classes 21, which --classes 5 cannot"),
        ("voc-fcn8s", {"dataset": "nyud"}, "voc-fcn8s has --dataset voc"),
        ("voc-fcn8s", {"backbone": "alexnet"}, "voc-fcn8s has --backbone vgg16"),
        ("voc-fcn8s", {"pad": 99}, "voc-fcn8s has --pad 100"),
        ("voc-fcn8s", {"recipe": "batch"}, "voc-fcn8s has --recipe heavy"),
        ("shapes-fcn8s", {"dataset": "voc"}, "shapes-fcn8s has --dataset shapes"),
        ("shapes-fcn8s", {"backbone": "vgg16"}, "shapes-fcn8s has --backbone vgg-small"),
        ("shapes-fcn8s", {"recipe": "batch"}, "shapes-fcn8s has --recipe scratch"),
        ("vgg16", {"phase": "train"}, "vgg16 has no phase train"),
        ("vgg16", {"pad": 1}, "vgg16 takes no --pad"),
        ("vgg16", {"dataset": "voc"}, "vgg16 takes no --dataset"),
        ("vgg16", {"backbone": "alexnet"}, "vgg16 has --backbone vgg16"),
        ("bvlc_alexnet", {"classes": 5}, "bvlc_alexnet has --classes 1000"),
        ("fcn32s", {"pad": 50}, "fcn32s with a first pad of 50 cannot crop an input of 500x500"),
        (
            "fcn32s",
            {"pad": 96, "size": (3, 500)},
            "fcn32s with a first pad of 96 cannot crop an input of 3x500",
        ),
        (
            "fcn32s",
            {"pad": 96, "phase": "train"},
            "fcn32s with a first pad of 96 cannot crop any input: the crop at stride 1 would need"
            " an offset of -1",
        ),
        (
            "fcn8s",
            {"backbone": "googlenet", "pad": 3, "size": (1, 1)},
            "fcn8s with a first pad of 3 cannot crop an input of 1x1",
        ),
        (
            "alexnet-conv",
            {"size": (50, 300)},
            "alexnet-conv cannot take an input of 50x300: layer 'fc6-conv': kernel 6",
        ),
        ("bvlc_googlenet", {"size": (1, 1)}, "cannot take an input of 1x1: layer 'conv2/3x3_red"),
    ],
)
def test_what_cannot_be_rendered(net, options, message):
    with pytest.raises(ZooError) as caught:
        render(net, **options)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ZooError) as caught:
        render("voc-fcn8s", phase="no", classes=0, pad=-1)
    assert len(str(caught.value).splitlines()) == 5


def test_a_classifier_has_no_solver():
    with pytest.raises(ZooError, match="vgg16 has no phase train"):
        render_solver("vgg16")


def test_a_backbone_without_a_stride():
    backbone = replace(specs.backbone("vgg16"), name="flat", skips={8: "pool3"})
    with pytest.raises(ZooError, match="flat has no blob at stride 16, which fcn8s needs"):
        render("fcn8s", backbone=backbone)
    render("fcn32s", backbone=backbone)


def test_a_backbone_whose_blob_is_elsewhere():
    backbone = replace(specs.backbone("vgg16"), skips={16: "pool3"})
    with pytest.raises(ZooError, match="'pool3' is said to be at stride 16, but its rows are at 8"):
        render("fcn16s", backbone=backbone)
    backbone = replace(specs.backbone("vgg16"), skips={16: "pool9"})
    with pytest.raises(FcnprotoError, match="pool9"):
        render("fcn16s", backbone=backbone)


def test_a_backbone_without_a_template():
    backbone = replace(specs.backbone("vgg16"), template="vgg19")
    with pytest.raises(ZooError, match=r"there is no template 'backbones/vgg19\.j2'"):
        render("fcn16s", backbone=backbone)


def test_a_template_that_needs_what_is_not_given():
    backbone = replace(specs.backbone("alexnet"), options={})
    with pytest.raises(ZooError, match=r"alexnet\.j2:\d+: error: .*'spell_out'"):
        render("fcn16s", backbone=backbone)


def test_a_net_of_ones_own():
    """Another ladder of strides is a file, not code."""
    net = replace(specs.net("fcn8s"), name="fcn8s-direct", strides=(32, 8))
    text = render(net, backbone="alexnet")
    assert [layer.name for layer in of_type(parsed(text), "Deconvolution")] == [
        "upscore4",
        "upscore8",
    ]
    assert shapes.infer(built(text, (1, 77))).blobs["score"] == (1, 21, 1, 77)


@pytest.mark.parametrize(("classes", "said"), [(1, "1 class"), (2, "2 classes")])
def test_one_class_is_no_plural(classes, said):
    text = render("fcn8s", dataset="folder", classes=classes)
    assert text.splitlines()[0] == f"# FCN-8s on VGG16 for a folder of your own, {said}: deploy"
