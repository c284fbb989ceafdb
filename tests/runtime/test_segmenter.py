"""Images to label maps: reading any image, preparing it, running it whole or in tiles."""

import io
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from exporting import input_text, layer_text, net_of
from PIL import Image

from fcnproto.errors import FcnprotoError, Problem, Severity
from fcnproto.exporting.export import export
from fcnproto.exporting.filled import with_weights
from fcnproto.exporting.rewrite import Optimize
from fcnproto.exporting.write import Interface, Result, write
from fcnproto.model.given import Given
from fcnproto.model.metadata import Blobs, Metadata, completed
from fcnproto.model.tiles import Kept, Stages, Tiling
from fcnproto.proto.source import parse_net, read_net
from fcnproto.rendering.fcn import render
from fcnproto.runtime import images
from fcnproto.runtime.images import ImageError, ImageSource
from fcnproto.runtime.outputs import label_maps
from fcnproto.runtime.overlay import _legend, drawable, overlay
from fcnproto.runtime.runner import Runner, Views
from fcnproto.runtime.segment_files import Segmented, segment
from fcnproto.runtime.segmenter import Segmenter
from fcnproto.runtime.session import Session
from fcnproto.surgery.fit import WeightSource
from fcnproto.weights import read
from fcnproto.zoo import specs

MEAN = (104.0, 116.5, 122.25)
CLASSES = ("nothing", "cat", "dog", "sky", "boat")


@pytest.fixture(scope="module")
def fcn(golden):
    """A small FCN-8s: its net, weights, and as bytes of ONNX for each way to call it."""
    path = golden / "layers" / "net_fcn8s_97x75"
    source = read_net(path.with_suffix(".prototxt"))
    weights = WeightSource("weights", read(path.with_suffix(".caffemodel")))

    def model(result=Result.SCORE, image_input=False, **given):
        settings = {"mean": MEAN, "classes": CLASSES, **given}
        return (
            export(source, weights, result=result, image_input=image_input, given=Given(**settings))
            .model.to_proto()
            .SerializeToString()
        )

    return model


def net_in_two_stages(optimize=Optimize.NONE, **settings):
    """FCN-32s of few channels, whose receptive field is as large as it is."""
    source = parse_net(render("voc-fcn32s"))
    for layer in source.net.layer:
        if layer.type == "Convolution" and "score" not in layer.name:
            layer.convolution_param.num_output = 2
        layer.convolution_param.weight_filler.type = "msra"
    given = Given(mean=MEAN)
    return (
        export(source, None, init=True, optimize=optimize, given=given, **settings)
        .model.to_proto()
        .SerializeToString()
    )


def segmenter_of(model, plan=Views()):
    session = Session(model, "cpu", threads=1)
    return Segmenter(session, tile=plan.tile, scales=plan.scales, flip=plan.flip)


def photograph(height, width, seed=0):
    """Something with areas and edges, and not the same on both sides."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def saved(path, array, mode=None, **settings):
    image = Image.fromarray(array)
    image = image.convert(mode) if mode else image
    image.save(path, **settings)
    return ImageSource(path)


# Reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("RGB", "png"), ("RGBA", "png"), ("RGB", "bmp"), ("RGB", "tif"), ("RGBX", "tif")],
)
def test_colour_is_read_as_it_is(tmp_path, mode, suffix):
    rgb = photograph(20, 30)
    source = saved(tmp_path / f"a.{suffix}", rgb, mode)
    np.testing.assert_array_equal(images.read(source), rgb)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA"])
def test_grey_and_palette(tmp_path, mode):
    grey = np.where(np.arange(600).reshape(20, 30) % 7 < 3, 255, 0).astype(np.uint8)
    source = saved(tmp_path / "a.png", grey, mode)
    np.testing.assert_array_equal(images.read(source), np.repeat(grey[..., None], 3, 2))


def test_sixteen_bits_become_eight(tmp_path):
    deep = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    found = images.read(saved(tmp_path / "a.png", deep))
    np.testing.assert_array_equal(found[..., 0], np.round(deep / 257))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "F", "I"])
def test_other_modes(tmp_path, mode):
    source = saved(tmp_path / "a.tif", photograph(20, 30), mode)
    found = images.read(source)
    assert (found.shape, found.dtype) == ((20, 30, 3), np.uint8)


def test_what_is_transparent_is_seen_on_white(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = 10, 20, 30, 255
    found = images.read(saved(tmp_path / "a.png", rgba))
    assert found[0, 0].tolist() == [10, 20, 30]
    assert found[1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_images_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    rgb = photograph(16, 24)
    image = Image.fromarray(rgb)
    image.save(tmp_path / "a.png", exif=exif)
    found = images.read(ImageSource(tmp_path / "a.png"))
    turned = {
        1: rgb,
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.transpose(1, 0, 2),
        6: rgb[::-1].transpose(1, 0, 2),
        7: rgb[::-1, ::-1].transpose(1, 0, 2),
        8: rgb[:, ::-1].transpose(1, 0, 2),
    }
    np.testing.assert_array_equal(found, turned[orientation])


def cut_off():
    stream = io.BytesIO()
    Image.fromarray(photograph(64, 64)).save(stream, "PNG")
    return stream.getvalue()[:-2000]


BROKEN = {
    "empty": b"",
    "text": b"this is no image",
    "cut off": cut_off(),
    "no pixels": b"P6 0 0 255\n",
    "one side": b"P6 5 0 255\n",
    "head only": b"\x89PNG\r\n\x1a\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_images_are_one_line(tmp_path, name):
    path = tmp_path / "a.png"
    path.write_bytes(BROKEN[name])
    with pytest.raises(ImageError) as caught:
        images.read(ImageSource(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("factor", [1.5, 3])
def test_decompression_bombs_are_refused(tmp_path, monkeypatch, factor):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", round(600 / factor))
    source = saved(tmp_path / "a.png", photograph(20, 30))
    with pytest.raises(ImageError, match="decompression bomb"):
        images.read(source)


def test_mutated_images_only_ever_give_our_own_errors(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a"
    for form in ("PNG", "JPEG", "GIF", "TIFF", "BMP"):
        stream = io.BytesIO()
        Image.fromarray(photograph(16, 16)).save(stream, form)
        whole = np.frombuffer(stream.getvalue(), np.uint8)
        for _ in range(60):
            bytes_ = whole.copy()
            places = rng.integers(0, min(len(bytes_), 200), 3)
            bytes_[places] = rng.integers(0, 256, 3)
            path.write_bytes(bytes_[: rng.integers(1, len(bytes_) + 1)].tobytes())
            with suppress(ImageError):
                assert images.read(ImageSource(path)).dtype == np.uint8


# Finding --------------------------------------------------------------------------------------


def test_finding_files_folders_globs_and_lists(tmp_path):
    for name in ("b.png", "a.jpg", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "c.txt").write_text(f"{tmp_path / 'a.jpg'}\n\n# no\nelsewhere.png\n")

    def names(*arguments):
        return [source.path.name for source in images.find([str(each) for each in arguments])]

    assert names(tmp_path / "b.png") == ["b.png"]
    assert names(tmp_path) == ["a.jpg", "b.png"]
    assert names(f"{tmp_path}/*.jpg") == ["a.jpg"]
    assert names(tmp_path / "c.txt") == ["a.jpg", "elsewhere.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError) as caught:
        names(tmp_path / "empty", tmp_path / "none.png", f"{tmp_path}/*.gif")
    assert len(caught.value.problems) == 3


# Preparing ------------------------------------------------------------------------------------


def test_images_go_in_as_bgr_less_the_mean(fcn):
    segmenter = segmenter_of(fcn())
    rgb = photograph(9, 7)
    (found,) = segmenter.runner._feeds([{"data": rgb}])["data"]
    expected = (
        rgb[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) - np.float32(MEAN)[:, None, None]
    )
    np.testing.assert_array_equal(found, expected)


def test_image_input_gives_the_same_scores_bit_for_bit(fcn):
    """Zero padding is around the image less its mean, so the mean cannot go into a bias."""
    rgb = np.stack([photograph(33, 45, seed) for seed in range(2)])
    plain, image = (Session(fcn(image_input=flag), "cpu", threads=1) for flag in (False, True))
    mean = np.float32(MEAN)
    prepared = np.ascontiguousarray(
        (rgb[..., ::-1].astype(np.float32) - mean).transpose(0, 3, 1, 2)
    )
    assert image.inputs[0].sizes == ("N", "H", "W", 3)
    np.testing.assert_array_equal(
        image.run({"data": rgb})["score"], plain.run({"data": prepared})["score"]
    )


# Running --------------------------------------------------------------------------------------


def expected_labels(fcn, rgb):
    segmenter = segmenter_of(fcn())
    feeds = segmenter.runner._feeds([{"data": rgb}])
    return segmenter.runner.session.run(feeds)["score"].argmax(axis=1)[0]


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (97, 131)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"result": Result.LABELS},
        {"result": Result.BOTH},
        {"image_input": True},
        {"result": Result.LABELS, "image_input": True},
    ],
)
def test_every_kind_of_model_gives_the_same_labels(fcn, settings, size):
    pictures = [{"data": photograph(*size, seed)} for seed in range(3)]
    found = segmenter_of(fcn(**settings)).runner.label(pictures)
    (labels,) = found.values()
    assert (labels.shape, labels.dtype) == ((3, *size), np.uint8)
    for picture, each in zip(pictures, labels, strict=True):
        np.testing.assert_array_equal(each, expected_labels(fcn, picture["data"]))


@pytest.mark.parametrize("tile", [1, 40, 64, 1000])
@pytest.mark.parametrize("settings", [{}, {"result": Result.LABELS, "image_input": True}])
def test_tiles_give_the_same_labels(fcn, tile, settings):
    picture = {"data": photograph(75, 130)}
    whole = segmenter_of(fcn(**settings)).runner.label([picture])
    found = segmenter_of(fcn(**settings), Views(tile)).runner.label([picture])
    assert found.keys() == whole.keys()
    for blob, labels in whole.items():
        np.testing.assert_array_equal(found[blob], labels)


@pytest.mark.parametrize("optimize", Optimize)
@pytest.mark.parametrize("settings", [{}, {"result": Result.LABELS, "image_input": True}])
def test_tiles_of_two_stages_give_the_same_labels(optimize, settings):
    model = net_in_two_stages(optimize=optimize, **settings)
    pictures = [{"data": photograph(75, 330, seed)} for seed in range(2)]
    whole = segmenter_of(model).runner.label(pictures)
    segmenter = segmenter_of(model, Views(64))
    assert segmenter.metadata.tiling.stages is not None
    for blob, labels in segmenter.runner.label(pictures).items():
        np.testing.assert_array_equal(labels, whole[blob])


def test_models_that_name_stages_which_they_lack():
    model = onnx.load_from_string(net_in_two_stages())
    (tiling,) = (prop for prop in model.metadata_props if prop.key == "tiling")
    tiling.value = tiling.value.replace('"blob": "', '"blob": "no ')
    with pytest.raises(FcnprotoError, match="the model has no values no "):
        segmenter_of(model.SerializeToString(), Views(64))


def test_large_images_are_read_for_tiles(tmp_path, monkeypatch):
    results = tmp_path / "results"
    results.mkdir()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60 * 60)
    source = saved(tmp_path / "a.png", photograph(64, 64))
    for plan, kind in ((Views(), Problem), (Views(64), Segmented)):
        segmenter = segmenter_of(net_in_two_stages(), plan)
        (outcome,) = segment(segmenter, [source], results, {})
        assert isinstance(outcome, kind)


def test_what_is_cut_into_tiles_is_not_prepared_as_it_is(fcn):
    picture = {"data": photograph(64, 64)}
    assert segmenter_of(fcn()).runner.prepare(picture) is not None
    assert segmenter_of(fcn(), Views(tile=32)).runner.prepare(picture) is None


def test_tiles_and_scales_together(fcn):
    picture = {"data": photograph(75, 130)}
    whole = segmenter_of(fcn(), Views(None, (0.5, 1.25), True)).runner.label([picture])
    tiled = segmenter_of(fcn(), Views(32, (0.5, 1.25), True)).runner.label([picture])
    np.testing.assert_array_equal(tiled["score"], whole["score"])


def test_tiles_of_two_stages_at_scales_and_mirrored():
    model = net_in_two_stages()
    picture = {"data": photograph(75, 130)}
    whole = segmenter_of(model, Views(None, (0.5, 1.25), True)).runner.label([picture])
    tiled = segmenter_of(model, Views(32, (0.5, 1.25), True)).runner.label([picture])
    np.testing.assert_array_equal(tiled["score"], whole["score"])


def test_flip_averages_with_the_mirror_image(fcn):
    rgb = photograph(40, 52)
    segmenter = segmenter_of(fcn(), Views(flip=True))

    def score(image):
        return segmenter.runner.session.run(segmenter.runner._feeds([{"data": image}]))["score"]

    expected = (score(rgb) + score(rgb[:, ::-1])[..., ::-1]).argmax(axis=1)
    np.testing.assert_array_equal(segmenter.runner.label([{"data": rgb}])["score"], expected)
    # What is averaged so cannot tell left from right.
    mirrored = segmenter.runner.label([{"data": rgb[:, ::-1]}])["score"]
    np.testing.assert_array_equal(mirrored[..., ::-1], expected)


def test_one_scale_is_not_another(fcn):
    picture = {"data": photograph(64, 64)}
    plain = segmenter_of(fcn()).runner.label([picture])["score"]
    halved = segmenter_of(fcn(), Views(None, (0.5,))).runner.label([picture])["score"]
    assert halved.shape == plain.shape
    assert (halved != plain).any()


def metadata_for(text_or_net, **given):
    net = net_of(text_or_net) if isinstance(text_or_net, str) else text_or_net
    blobs = Blobs(
        {blob: sizes[1] for blob, sizes in net.inputs.items()},
        {blob: sizes[1] for blob, sizes in net.outputs.items()},
    )
    return net, completed(Metadata(), Given(**given), blobs)


def fixed_net():
    """A net whose input is fixed at 2×3×8×6, and whose scores are its input."""
    text = input_text(data=(2, 3, 8, 6)) + layer_text(
        "Reshape", ["data"], ["score"], "reshape_param { shape { dim: 2 dim: 3 dim: 8 dim: 6 } }"
    )
    return metadata_for(text, mean=(1.0, 2.0, 3.0))


def test_models_of_fixed_size_get_images_of_that_size():
    net, about = fixed_net()
    model = write(with_weights(net, {}), metadata=about.to_props()).to_proto().SerializeToString()
    segmenter = segmenter_of(model)
    assert segmenter.runner.batch == 2
    rgb = photograph(8, 6)
    expected = (rgb[..., ::-1] - np.float32([1, 2, 3])).argmax(axis=2)
    np.testing.assert_array_equal(segmenter.runner.label([{"data": rgb}])["score"][0], expected)
    large = np.asarray(Image.fromarray(rgb).resize((60, 80), Image.Resampling.NEAREST))
    found = segmenter.runner.label([{"data": large}])["score"]
    assert found.shape == (1, 80, 60)
    with pytest.raises(FcnprotoError, match="fixed at 8×6"):
        segmenter_of(model, Views(scales=(2.0,)))


@pytest.mark.parametrize(
    ("size", "expected"), [((4, 3), (8, 6)), ((4, 12), (8, 12)), ((16, 3), (16, 6))]
)
def test_smaller_images_than_a_fixed_size_lose_no_labels(size, expected):
    """A label map as small as the image would drop whatever is one pixel wide."""
    net, about = fixed_net()
    model = write(with_weights(net, {}), metadata=about.to_props()).to_proto().SerializeToString()
    segmenter = segmenter_of(model)
    small = photograph(*size)
    found = segmenter(small)
    assert found.labels.shape == found.image.shape[:2] == expected
    assert "smaller than the images that the model is fixed at" in found.notes[0].message
    seen = Image.fromarray(small).resize(expected[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found.labels, segmenter(seen).labels)
    assert segmenter.runner.label([{"data": small}])["score"].shape == (1, *size)  # to be scored
    assert not segmenter(photograph(8, 6)).notes


def test_scores_at_a_larger_stride_are_scaled_up():
    text = input_text(data=(1, 3, 32, 32)) + layer_text(
        "Pooling", ["data"], ["score"], "pooling_param { pool: AVE kernel_size: 4 stride: 4 }"
    )
    net, about = metadata_for(text, mean=(0.0, 0.0, 0.0))
    model = write(with_weights(net, {}), metadata=about.to_props()).to_proto().SerializeToString()
    rgb = np.zeros((16, 32, 3), np.uint8)
    rgb[:, :16, 0] = 200
    rgb[:, 16:, 1] = 200
    found = segmenter_of(model).runner.label([{"data": rgb}])["score"][0]
    assert (found[:, :16] == 2).all()
    assert (found[:, 16:] == 1).all()


def test_more_than_256_classes_are_16_bits(tmp_path):
    text = input_text(data=(1, 3, 8, 8)) + layer_text(
        "Convolution", ["data"], ["score"], "convolution_param { num_output: 300 kernel_size: 1 }"
    )
    net, about = metadata_for(text, mean=(0.0, 0.0, 0.0))
    weights = {"it": [np.zeros((300, 3, 1, 1), np.float32), np.arange(300, dtype=np.float32)]}
    for result in (Result.SCORE, Result.LABELS):
        interface = Interface(result)
        model = write(
            with_weights(net, weights), metadata=about.to_props(), interface=interface
        ).to_proto()
        segmenter = segmenter_of(model.SerializeToString())
        (labels,) = segmenter.runner.label([{"data": photograph(5, 5)}]).values()
        assert labels.dtype == np.uint16
        assert (labels == 299).all()
    images.write_labels(tmp_path / "a.png", labels[0], segmenter.runner.palette)
    with Image.open(tmp_path / "a.png") as image:
        assert (np.asarray(image) == 299).all()


# Models that are not ours ---------------------------------------------------------------------


def test_models_that_do_not_say_their_mean(fcn):
    session = Session(fcn(), "cpu")
    with pytest.raises(FcnprotoError, match=r"mean of input 'data'.*--mean B,G,R or --dataset D"):
        Runner(session, Metadata())
    with pytest.raises(FcnprotoError, match="cut into tiles"):
        Runner(session, Metadata(mean={"data": MEAN}), Views(tile=10))


def test_models_that_give_no_score_for_each_pixel():
    text = input_text(data=(1, 3, 8, 8)) + layer_text("Flatten", ["data"], ["flat"])
    model = write(with_weights(net_of(text), {})).to_proto().SerializeToString()
    with pytest.raises(FcnprotoError, match="no score or label for each pixel: 'flat' is N×"):
        Runner(Session(model, "cpu"), Metadata(mean={"data": MEAN}))


@pytest.mark.parametrize("result", Result)
def test_every_kind_of_model_names_its_classes(fcn, result):
    segmenter = Segmenter(fcn(result=result), device="cpu")
    assert not any("names" in warning.message for warning in segmenter.warnings)
    assert set(segmenter(photograph(20, 30)).shares) <= set(CLASSES)


def test_labels_cannot_be_averaged(fcn):
    with pytest.raises(FcnprotoError, match="--result score"):
        segmenter_of(fcn(result=Result.LABELS), Views(flip=True))


def tiling_with(kept=None, **settings):
    """A tiling of two stages as JSON, with something else in it."""
    blob = {"blob": "p", "stride": [16, 16], "before": [9, 9], "after": [-4, 9], "more": [-1, 3]}
    around = {"before": [1, 2], "after": [3, 4]}
    stages = {"kept": [{**blob, **settings}] if kept is None else kept, **around}
    return json.dumps({"stride": [32, 32], **around, "stages": stages})


def test_tilings_come_back_as_they_were():
    about = Metadata.from_props({"tiling": tiling_with()})
    kept = Kept("p", (16, 16), (9, 9), (-4, 9), (-1, 3))
    around = (1, 2), (3, 4)
    assert about.tiling == Tiling((32, 32), *around, Stages((kept,), *around))
    assert Metadata.from_props(about.to_props()) == about


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", "[1, 2]"),
        ("mean", "{"),
        ("mean", '{"data": ["x"]}'),
        ("classes", '{"score": 3}'),
        ("palette", "[[1, 2]]"),
        ("palette", "[[1, 2, 256]]"),
        ("tiling", '{"stride": [0, 1], "before": [1, 1], "after": [1, 1]}'),
        ("tiling", '{"stride": [1, 1]}'),
        ("tiling", "[1]"),
        ("tiling", tiling_with(kept=[])),
        ("tiling", tiling_with(stride=[5, 16])),
        ("tiling", tiling_with(stride=[0, 16])),
        ("tiling", tiling_with(more=[1e999, 1])),
        ("tiling", tiling_with(more=[0.5, 1])),
        ("tiling", tiling_with(blob=3)),
        ("channel_order", "RGB"),
        ("images", "[" * 100000),
    ],
)
def test_metadata_that_makes_no_sense(key, value):
    with pytest.raises(FcnprotoError, match=f"its metadata '{key}'"):
        Metadata.from_props({key: value})


# From files to files --------------------------------------------------------------------------


def test_files_to_files(fcn, tmp_path):
    palette = tuple((index, 2 * index, 3 * index) for index in range(5))
    segmenter = segmenter_of(fcn(palette=palette))
    sources = [
        saved(tmp_path / f"{name}.png", photograph(*size, seed))
        for seed, (name, size) in enumerate(
            [("a", (40, 30)), ("b", (30, 40)), ("c", (40, 30)), ("d", (40, 30))]
        )
    ]
    (tmp_path / "bad.png").write_bytes(b"nothing")
    out = tmp_path / "out"
    out.mkdir()
    outcomes = list(segment(segmenter, [*sources, ImageSource(tmp_path / "bad.png")], out, {}))
    done = {each.source.stem: each for each in outcomes if isinstance(each, Segmented)}
    problems = [each for each in outcomes if isinstance(each, Problem)]
    assert sorted(done) == ["a", "b", "c", "d"]
    assert len(problems) == 1 and "bad.png" in str(problems[0])
    for source in sources:
        rgb = images.read(source)
        expected = expected_labels(fcn, rgb)
        with Image.open(out / f"{source.stem}.png") as image:
            assert image.mode == "P"
            np.testing.assert_array_equal(np.asarray(image), expected)
            found = np.asarray(image.convert("RGB"))
            np.testing.assert_array_equal(found, np.uint8(palette)[expected])
        with Image.open(out / f"{source.stem}.overlay.jpg") as image:
            # Below it stands the legend.
            assert image.width == rgb.shape[1] and image.height > rgb.shape[0]
        shares = done[source.stem].shares["score"]
        assert sum(shares.values()) == pytest.approx(1)
        assert list(shares.values()) == sorted(shares.values(), reverse=True)
        for name, share in shares.items():
            assert share == (expected == CLASSES.index(name)).mean()
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{name}.{ending}" for name in "abcd" for ending in ("png", "overlay.jpg")
    )


def test_images_of_one_size_run_together(fcn, tmp_path, monkeypatch):
    segmenter = segmenter_of(fcn())
    counts = []
    run = segmenter.runner.run

    def counted(pictures, *args, **settings):
        counts.append(len(pictures))
        return run(pictures, *args, **settings)

    monkeypatch.setattr(segmenter.runner, "run", counted)
    monkeypatch.setattr("fcnproto.runtime.segmenter.BATCH_PIXELS", 2 * 24 * 16)
    sources = [
        saved(tmp_path / f"{index}.png", photograph(*((24, 16) if index % 2 else (16, 20)), index))
        for index in range(8)
    ]
    outcomes = list(segment(segmenter, sources, tmp_path / ".", {}))
    # The results would replace the images themselves.
    assert len(outcomes) == 8 and all(isinstance(each, Problem) for each in outcomes)
    out = tmp_path / "out"
    out.mkdir()
    assert len(list(segment(segmenter, sources, out, {}))) == 8
    assert counts == [2, 2, 2, 2]


def test_two_images_of_one_name(fcn, tmp_path):
    sources = [saved(tmp_path / f"a.{ending}", photograph(8, 8)) for ending in ("png", "bmp")]
    out = tmp_path / "out"
    out.mkdir()
    first, second = segment(segmenter_of(fcn()), sources, out, {})
    (problem,) = [each for each in (first, second) if isinstance(each, Problem)]
    assert "a.png" in problem.message


def test_a_full_disk_stops_it(fcn, tmp_path, monkeypatch):
    def full(*_args, **_settings):
        raise OSError(28, "No space left on device")

    source = saved(tmp_path / "a.png", photograph(8, 8))
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FcnprotoError, match="No space left"):
        list(segment(segmenter_of(fcn()), [source], out, {}))
    assert not list(out.iterdir())


def test_overlay_lets_the_image_through_where_the_colour_is_black():
    rgb = np.full((16, 32, 3), 100, np.uint8)
    labels = np.repeat([[0] * 16 + [1] * 16], 16, 0).astype(np.uint8)
    found = overlay(rgb, labels, ((0, 0, 0), (200, 0, 0)))
    assert (found[:, :15] == 100).all()
    assert (found[:, 17:] == (150, 50, 50)).all()


@pytest.mark.parametrize("grey", [0, 60, 128, 255])
def test_overlay_shows_where_classes_meet_on_any_image(grey):
    """Even where the image has the classes' own colours."""
    rgb = np.full((16, 32, 3), grey, np.uint8)
    labels = np.repeat([[0] * 16 + [1] * 16], 16, 0).astype(np.uint8)
    found = overlay(rgb, labels, ((grey,) * 3, (grey,) * 3)).astype(int)
    assert (found[:, 15] == 255).all() and (found[:, 16] == 0).all()


def test_legend_names_the_classes_below_the_image():
    rgb = np.zeros((20, 200, 3), np.uint8)
    labels = np.ones((20, 200), np.uint16) * 300
    found = overlay(rgb, labels, [(0, 0, 0)] * 300 + [(0, 200, 0)], {300: "tree"})
    strip = found[20:]
    assert (strip.reshape(-1, 3) == (0, 200, 0)).all(axis=1).sum() > 100
    assert (strip == 0).all(axis=2).sum() > 20  # letters
    many = {n: f"a class of number {n}" for n in range(12)}
    assert overlay(rgb, labels, [(9, 9, 9)], many).shape[0] > found.shape[0]


# Two images for one scene ---------------------------------------------------------------------


def two_inputs(first, second, channels):
    """A net that adds two inputs up, with NYUDv2's means."""
    shapes = {first: (1, 3, 8, 8), second: (1, channels, 8, 8)}
    text = input_text(**shapes) + layer_text("Concat", [first, second], ["score"])
    net, about = metadata_for(text, dataset=specs.dataset("nyud"))
    return segmenter_of(
        write(with_weights(net, {}), metadata=about.to_props()).to_proto().SerializeToString()
    )


def test_colour_and_hha(tmp_path):
    segmenter = two_inputs("color", "hha", 3)
    assert segmenter.metadata.images == {"color": "color", "hha": "hha"}
    color, hha = photograph(9, 8, 1), photograph(9, 8, 2)
    for name in ("hha", "out"):
        (tmp_path / name).mkdir()
    source = saved(tmp_path / "room.png", color)
    saved(tmp_path / "hha" / "room.png", hha)
    (done,) = segment(segmenter, [source], tmp_path / "out", {"hha": tmp_path / "hha"})
    means = specs.dataset("nyud").mean
    stacked = np.concatenate(
        # The published data layer turns colour to BGR, and takes HHA as it is read.
        [color[..., ::-1] - np.float32(means["color"]), hha - np.float32(means["hha"])],
        axis=2,
    )
    with Image.open(done.labels["score"]) as image:
        np.testing.assert_array_equal(np.asarray(image), stacked.argmax(axis=2))


def test_colour_and_depth(tmp_path):
    segmenter = two_inputs("color", "depth", 1)
    depth = np.full((9, 8), 2550, np.uint16)
    depth[0, 0] = 0
    picture = {"color": photograph(9, 8), "depth": depth.astype(np.float32)}
    found = segmenter.runner._feeds([picture])["depth"][0, 0]
    mean = specs.dataset("nyud").mean["depth"][0]
    np.testing.assert_allclose(found[1:], np.log(2550) - mean, atol=1e-6)
    assert found[0, 0] == 0
    for name in ("depth", "out"):
        (tmp_path / name).mkdir()
    source = saved(tmp_path / "room.png", picture["color"])
    saved(tmp_path / "depth" / "room.png", depth)
    warning, done = segment(segmenter, [source], tmp_path / "out", {"depth": tmp_path / "depth"})
    assert warning.severity is Severity.WARNING and "1 of its pixels" in warning.message
    assert isinstance(done, Segmented)


def test_depth_of_8_bits_is_warned_of(tmp_path):
    segmenter = two_inputs("color", "depth", 1)
    for name in ("depth", "out"):
        (tmp_path / name).mkdir()
    source = saved(tmp_path / "room.png", photograph(9, 8))
    saved(tmp_path / "depth" / "room.png", np.full((9, 8), 200, np.uint8))
    warning, done = segment(segmenter, [source], tmp_path / "out", {"depth": tmp_path / "depth"})
    assert warning.severity is Severity.WARNING and "8 bits" in warning.message
    assert "millimetres" in warning.message and isinstance(done, Segmented)


def test_what_does_not_belong_together(tmp_path):
    segmenter = two_inputs("color", "hha", 3)
    for name in ("hha", "out"):
        (tmp_path / name).mkdir()
    sources = [saved(tmp_path / f"{name}.png", photograph(9, 8)) for name in ("alone", "larger")]
    saved(tmp_path / "hha" / "larger.png", photograph(10, 8))
    alone, larger = segment(segmenter, sources, tmp_path / "out", {"hha": tmp_path / "hha"})
    assert "there is no" in alone.message
    assert "different size: 'color' 9×8, 'hha' 10×8" in larger.message
    with pytest.raises(FcnprotoError, match="--hha DIR"):
        list(segment(segmenter, sources, tmp_path / "out", {}))


def test_sources_that_are_not_asked_for(fcn, tmp_path):
    with pytest.raises(FcnprotoError, match="takes no hha"):
        list(segment(segmenter_of(fcn()), [], tmp_path, {"hha": tmp_path}))


def test_two_label_maps(tmp_path):
    text = (
        input_text(data=(1, 3, 8, 8))
        + 'layer { name: "a" type: "AbsVal" bottom: "data" top: "score_sem" }\n'
        + 'layer { name: "b" type: "Power" bottom: "data" top: "score_geo" '
        "power_param { scale: -1 } }\n"
    )
    net, about = metadata_for(text, mean=(0.0, 0.0, 0.0), classes=("x", "y", "z"))
    for result in Result:
        model = write(
            with_weights(net, {}), metadata=about.to_props(), interface=Interface(result)
        ).to_proto()
        segmenter = segmenter_of(model.SerializeToString())
        assert [each.blob for each in label_maps(segmenter.runner.session)] == [
            "score_sem",
            "score_geo",
        ]
        out = tmp_path / result.value
        out.mkdir()
        source = saved(tmp_path / "a.png", photograph(6, 5))
        (done,) = segment(segmenter, [source], out, {})
        assert [path.name for path in done.labels.values()] == ["a.png", "a.score_geo.png"]
        rgb = images.read(source)
        with Image.open(out / "a.score_geo.png") as image:
            np.testing.assert_array_equal(np.asarray(image), rgb[..., ::-1].argmin(axis=2))
        assert set(done.shares["score_geo"]) <= {"x", "y", "z"}


def test_nets_without_a_size_of_their_own_parse():
    assert parse_net(input_text(data=(1, 3, 4, 4))).net.layer


def test_a_net_of_one_size_gives_its_own_labels_enlarged(tmp_path):
    """Scores that are scaled could mix classes; a label map of the net's own size cannot."""
    text = input_text(data=(1, 3, 8, 12)) + layer_text(
        "InnerProduct", ["data"], ["fc"], "inner_product_param { num_output: 288 }"
    ).replace('name: "it"', 'name: "fc"')
    text += layer_text(
        "Reshape", ["fc"], ["score"], "reshape_param { shape { dim: 0 dim: 3 dim: 8 dim: 12 } }"
    )
    rng = np.random.default_rng(0)
    kernels = [rng.standard_normal((288, 288), np.float32), np.zeros(288, np.float32)]
    given = Given(mean=(0.0, 0.0, 0.0))
    model = export(parse_net(text), WeightSource("w", {"fc": kernels}), given=given).model
    model.save(tmp_path / "m.onnx")
    segment = Segmenter(tmp_path / "m.onnx")
    picture = rng.integers(0, 256, (24, 24, 3), np.uint8)
    small = Image.fromarray(picture).resize((12, 8), Image.Resampling.BILINEAR)
    expected = segment(small).labels.repeat(3, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(segment(picture).labels, expected)


@pytest.mark.parametrize(("layer", "threshold"), [("Sigmoid", 0.5), ("ReLU", 0.0)])
def test_one_channel_is_a_label_map_by_its_threshold(tmp_path, layer, threshold):
    text = input_text(data=(1, 3, 9, 9)) + layer_text(
        "Convolution", ["data"], ["s"], "convolution_param { num_output: 1 kernel_size: 1 }"
    ).replace('name: "it"', 'name: "s"')
    text += layer_text(layer, ["s"], ["prob"])
    arrays = [np.full((1, 3, 1, 1), 0.01, np.float32), np.full(1, -3.0, np.float32)]
    given = Given(mean=(0.0, 0.0, 0.0))
    export(parse_net(text), WeightSource("w", {"s": arrays}), given=given).model.save(
        tmp_path / "m.onnx"
    )
    picture = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    found = Segmenter(tmp_path / "m.onnx")(picture)
    score = picture.sum(axis=2) * 0.01 - 3
    np.testing.assert_array_equal(found.labels, score > 0)
    np.testing.assert_array_equal(found.labels, found.scores[0] > threshold)


@pytest.mark.parametrize(
    ("name", "drawn"), [("bår é", "bar e"), ("Straße", "Strasse"), ("人", "?")]
)
def test_names_are_drawn_in_letters_that_the_font_has(name, drawn):
    assert drawable(name) == drawn
    np.testing.assert_array_equal(
        _legend(200, (((0, 0, 0), name),)), _legend(200, (((0, 0, 0), drawn),))
    )
