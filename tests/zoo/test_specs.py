"""zoo.py: what models/ says, and what is said of files that do not hold."""

import shutil
from pathlib import Path

import pytest
from paths import PUBLISHED

from fcnproto.errors import ZooError
from fcnproto.zoo import specs

NAMES = sorted(path.name for path in PUBLISHED.iterdir())
OURS = ("fcn32s", "fcn16s", "fcn8s", "fcn8s-atonce", "crfrnn")
SHAPES = ("shapes-fcn32s", "shapes-fcn16s", "shapes-fcn8s")
BACKBONES = ("alexnet", "caffenet", "googlenet", "vgg-small", "vgg16")
PUBLISHEDBACKBONES = ("alexnet", "caffenet", "googlenet", "vgg16")


@pytest.fixture
def models(tmp_path):
    """A copy of models/ to add to."""
    return Path(shutil.copytree(specs.MODELS, tmp_path / "models"))


def test_every_published_net_is_in_the_zoo():
    nets = specs.nets()
    assert len(NAMES) == 18
    assert [name for name, net in nets.items() if net.published] == NAMES


def test_ours_and_the_classifiers_are_in_the_zoo():
    convolutional = (f"{name}-conv" for name in PUBLISHEDBACKBONES)
    expected = {*NAMES, *OURS, *SHAPES, *BACKBONES, *convolutional}
    assert set(specs.nets()) == expected
    assert tuple(specs.backbones()) == BACKBONES


def test_everything_has_a_title():
    for items in (specs.nets(), specs.datasets(), specs.backbones()):
        assert all(item.title and "\n" not in item.title for item in items.values())


@pytest.mark.parametrize(
    ("name", "classes", "first", "last", "mean"),
    [
        ("voc", 21, "background", "tvmonitor", (104.00699, 116.66877, 122.67892)),
        ("nyud", 40, "wall", "otherprop", (116.190, 97.203, 92.318)),
        ("siftflow", 33, "awning", "window", (114.578, 115.294, 108.353)),
        ("pascalcontext", 60, "background", "wood", (104.007, 116.669, 122.679)),
        ("folder", 2, "background", "foreground", (104.00699, 116.66877, 122.67892)),
        ("shapes", 5, "background", "ring", (112, 120, 122)),
    ],
)
def test_datasets(name, classes, first, last, mean):
    dataset = specs.dataset(name)
    assert len(dataset.classes) == len(set(dataset.classes)) == classes
    assert (dataset.classes[0], dataset.classes[-1]) == (first, last)
    assert dataset.mean["color"] == mean
    assert dataset.images[0] == "color"
    assert dataset.ignore_label == 255
    assert len(dataset.palette) == 256


def test_siftflow_has_a_second_label_map():
    semantic, geometric = specs.dataset("siftflow").labels
    assert (semantic.name, semantic.suffix, semantic.loss) == ("sem", "_sem", "loss")
    assert geometric.classes == ("sky", "horizontal", "vertical")


def test_nyud_has_three_kinds_of_image():
    mean = specs.dataset("nyud").mean
    assert {kind: len(values) for kind, values in mean.items()} == {
        "color": 3,
        "hha": 3,
        "depth": 1,
    }


def test_voc_palette():
    """Colours as in the VOC development kit's label maps."""
    palette = specs.voc_palette()
    assert palette[:9] == (
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (0, 0, 128),
        (128, 0, 128),
        (0, 128, 128),
        (128, 128, 128),
        (64, 0, 0),
    )
    assert palette[15] == (192, 128, 128)
    assert palette[20] == (0, 64, 128)
    assert palette[255] == (224, 224, 192)


@pytest.mark.parametrize(
    ("find", "name", "message"),
    [
        (specs.net, "voc-fcn8", "there is no net 'voc-fcn8'; did you mean 'voc-fcn8s'?"),
        (specs.net, "FCN8s", "there is no net 'FCN8s'; did you mean 'fcn8s'?"),
        (specs.net, "../zoo", "there is no net '../zoo'; see `fcnproto list`"),
        (specs.net, "", "there is no net ''; see `fcnproto list`"),
        (specs.dataset, "nyudv2", "there is no dataset 'nyudv2'; did you mean 'nyud'?"),
        (specs.backbone, "vgg", "there is no backbone 'vgg'; did you mean 'vgg16'?"),
        (specs.backbone, "fcn8s", "there is no backbone 'fcn8s'; see `fcnproto list`"),
        (specs.recipe, "bath", "there is no recipe 'bath'; did you mean 'batch'?"),
    ],
)
def test_unknown_names_get_a_suggestion(find, name, message):
    with pytest.raises(ZooError) as caught:
        find(name)
    assert message in str(caught.value)


def test_a_file_adds_a_net(models):
    (models / "nets" / "mine.toml").write_text(
        'title = "Mine"\nkind = "fcn"\nbackbone = "alexnet"\ndataset = "nyud"\n'
        'strides = [32, 8]\ntrained_like = ["voc-fcn8s"]\n'
    )
    assert specs.nets(models)["mine"].strides == (32, 8)


def test_a_file_adds_a_dataset(models):
    text = (models / "datasets" / "voc.toml").read_text()
    (models / "datasets" / "mine.toml").write_text(
        text.replace('palette = "voc"', "colours = [[1, 2, 3]]")
    )
    dataset = specs.dataset("mine", models)
    assert dataset.name == "mine"
    assert dataset.palette[:2] == ((1, 2, 3), (0, 0, 0))
    assert len(dataset.palette) == 256


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("strides = [16, 32]", "'strides' must fall, each a multiple of the next"),
        ("strides = [32, 0]", "'strides' must fall"),
        ("strides = []", "'strides' must fall"),
        ("strides = [32]\nscales = { 8 = 0.1 }", "'scales' must be of strides after the first"),
        ('strides = [32]\nimages = ["color", "hha"]', "'images' are two with a 'fusion'"),
        ('strides = [32]\nfusion = "early"', "'images' are two with a 'fusion'"),
        (
            'strides = [32, 16]\nimages = ["color", "hha"]\nfusion = "late"',
            "'fusion' can be late only where one stride is scored",
        ),
        ("strides = [32]\nspeed = 3", "unknown key 'speed'"),
        ("strides = [32]\noptions = { a = 1 }", "'a' must be true or false"),
    ],
)
def test_a_net_that_does_not_hold_is_refused(models, lines, message):
    (models / "nets" / "mine.toml").write_text(
        'title = "Mine"\nkind = "fcn"\nbackbone = "alexnet"\ndataset = "voc"\n'
        f'trained_like = ["voc-fcn8s"]\n{lines}\n'
    )
    with pytest.raises(ZooError) as caught:
        specs.net("mine", models)
    assert message in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_a_kind_of_net_that_is_none_is_refused(models):
    (models / "nets" / "mine.toml").write_text('kind = "magic"\n')
    with pytest.raises(ZooError, match="'kind' must be one of fcn, classifier, found 'magic'"):
        specs.net("mine", models)


def test_a_backbone_that_does_not_hold_is_refused(models):
    (models / "nets" / "mine.toml").write_text(
        'title = "Mine"\nkind = "classifier"\nsize = [1]\nclasses = 2\n[trunk]\ntitle = 1\n'
    )
    with pytest.raises(ZooError) as caught:
        specs.backbone("mine", models)
    assert "trunk: 'title' must be text, found 1" in str(caught.value)
    assert "trunk: 'score' is missing" in str(caught.value)
    with pytest.raises(ZooError, match="'size' must be a height and a width"):
        specs.net("mine", models)


@pytest.mark.parametrize("net", OURS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_names_say_the_dataset(net, backbone):
    for dataset in specs.datasets():
        full = specs.full_name(specs.net(net), backbone, dataset)
        found = specs.identify(full)
        assert found is not None
        assert found.name == dataset


def test_names_of_other_nets_say_nothing():
    assert specs.identify("vgg16") is None
    assert specs.identify("") is None
    assert specs.identify("fcn8s-mine") is None
    published = specs.identify("nyud-fcn32s-hha")
    assert published is not None
    assert published.name == "nyud"
