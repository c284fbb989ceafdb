"""Label pictures as people make them: smooth edges, palettes of any order, 16 bits, other sizes."""

import re
import struct
import tempfile
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import trees
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from fcnproto.cli import main
from fcnproto.datasets.blends import soft_edges
from fcnproto.datasets.convert import Rule, convert
from fcnproto.datasets.pictures import read_image, read_labels
from fcnproto.errors import DataError

COLOURS = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0)], np.uint8)


def areas(size=(40, 60)):
    """Three classes with edges between each two of them."""
    labels = np.zeros(size, np.uint8)
    labels[8:30, 10:35] = 1
    labels[18:34, 35:50] = 2
    return labels


def smooth(pixels, factor=4):
    """As a picture looks that was drawn larger and scaled down with blending."""
    image = Image.fromarray(pixels)
    height, width = pixels.shape[:2]
    large = image.resize((width * factor + 3, height * factor + 2), Image.Resampling.NEAREST)
    return np.asarray(large.resize((width, height), Image.Resampling.BICUBIC))


def made(folder, pictures, legend=None):
    for name, (labels, size) in pictures.items():
        trees.save(folder / "images" / f"{name}.jpg", trees.colours(1, size))
        trees.save(folder / "labels" / f"{name}.png", labels)
    if legend is not None:
        (folder / "classes.txt").write_text(legend)
    return folder


def written(folder, name="a"):
    return read_labels(folder / "labels" / f"{name}.png")


def test_blended_colours_are_refused_and_named(tmp_path):
    truth = areas()
    picture = smooth(COLOURS[truth])
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 5
    made(tmp_path / "in", {"a": (picture, truth.shape)})
    with pytest.raises(DataError, match=r"stand at edges only .* blended by smooth edges"):
        convert(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("legend", [None, "night 0 0 0\ngrass 0 255 0\ncar 255 0 0\n"])
def test_blended_colours_become_the_nearest_class_on_request(tmp_path, legend):
    truth = areas()
    made(tmp_path / "in", {"a": (smooth(COLOURS[truth]), truth.shape)}, legend)
    done = convert(tmp_path / "in", tmp_path / "out", nearest=True)
    assert len(done.legend) == 3 and "blended colours" in str(done.notes[0])
    found = written(tmp_path / "out")
    # Numbered in order, green comes before red.
    expected = np.array([0, 2, 1], np.uint8)[truth]
    assert set(np.unique(found)) == {0, 1, 2}
    assert (found != expected).mean() < 0.02


def test_a_mixture_is_none_of_the_classes_that_are_far(tmp_path):
    """Between black and white lies grey, which is a class elsewhere in the picture."""
    table = np.array([(0, 0, 0), (255, 255, 255), (128, 128, 128)], np.uint8)
    labels = np.zeros((30, 90), np.uint8)
    labels[:, 30:60] = 1
    labels[:, 80:] = 2
    picture = table[labels]
    picture[:, 30] = 120  # an edge, blended, far from the grey class
    legend = "black 0 0 0\nwhite 255 255 255\ngrey 128 128 128\n"
    made(tmp_path / "in", {"a": (picture, labels.shape)}, legend)
    convert(tmp_path / "in", tmp_path / "out", nearest=True)
    assert not (written(tmp_path / "out")[:, 28:33] == 2).any()


def test_thin_classes_that_are_no_mixture_stay(tmp_path):
    picture = COLOURS[areas()]
    picture[5] = (0, 0, 200)
    made(tmp_path / "in", {"a": (picture, picture.shape[:2])})
    assert len(convert(tmp_path / "in", tmp_path / "out").legend) == 4


def test_soft_grey_masks(tmp_path):
    truth = (areas() > 0).astype(np.uint8)
    made(tmp_path / "in", {"a": (smooth(truth * np.uint8(255)), truth.shape)})
    with pytest.raises(DataError, match="grey levels between them, at edges only"):
        convert(tmp_path / "in", tmp_path / "out")
    done = convert(tmp_path / "in", tmp_path / "out", nearest=True)
    assert done.rule is Rule.MASK and (written(tmp_path / "out") != truth).mean() < 0.02


@pytest.mark.parametrize("filtering", ["BILINEAR", "BICUBIC", "LANCZOS"])
@pytest.mark.parametrize("size", [(50, 37), (140, 96)])
@pytest.mark.parametrize("levels", [(0, 127, 255), (0, 5, 20), (0, 254, 254), (10, 200, 90)])
def test_class_maps_with_smooth_edges_are_named(tmp_path, filtering, size, levels):
    truth = np.array(levels, np.uint8)[np.kron(areas(), np.ones((2, 2), np.uint8))]
    picture = np.asarray(Image.fromarray(truth).resize(size, Image.Resampling[filtering]))
    made(tmp_path / "in", dict.fromkeys("ab", (picture, picture.shape)))
    extra = int((~np.isin(picture, levels)).sum())
    for verb in (["check", str(tmp_path / "in")], ["convert", str(tmp_path / "in"), "-o", "out"]):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            said = CliRunner().invoke(main, ["dataset", *verb]).output
        (line,) = [line for line in said.splitlines() if "smooth edges" in line and "a.png" in line]
        assert 0 < int(re.search(r"\((\d+) pixels\)", line)[1]) <= extra
        assert "never occur" not in said
    np.testing.assert_array_equal(written(tmp_path / "out"), picture)  # and no class is invented
    done = convert(tmp_path / "in", tmp_path / "nearest", nearest=True)
    assert [Path(note.path).name for note in done.notes] == ["a.png", "b.png"]
    left = written(tmp_path / "nearest")
    assert not soft_edges(left) and np.isin(left, levels).mean() > 0.99


def test_thin_classes_are_no_smooth_edges():
    """Lanes in a road, poles before sky, and what the void around objects encloses."""
    rng = np.random.default_rng(0)
    for void in (False, True):
        for _ in range(100):
            labels = np.zeros((64, 64), np.uint8)
            for label in rng.integers(0, 20, 12):
                (top, left), (height, width) = rng.integers(2, 50, 2), rng.integers(1, 12, 2)
                if void:
                    labels[top - 1 : top + height + 1, left - 1 : left + width + 1] = 255
                labels[top : top + height, left : left + width] = label
            assert soft_edges(labels) is None
    photograph = rng.integers(0, 256, (64, 64)).astype(np.uint8)
    photograph[:9, :9], photograph[9:18, :9] = 0, 255
    assert soft_edges(photograph) is None


@pytest.mark.parametrize("thick", [1, 2])
def test_thin_layers_in_their_order_are_no_smooth_edges(thick):
    """As those of a retina, or distances in bins."""
    y, x = np.mgrid[:80, :120]
    layers = np.clip((y - 30 - 10 * np.sin(x / 40)) // thick, 0, 7).astype(np.uint8)
    assert soft_edges(layers) is None
    steep = np.asarray(Image.fromarray(layers // 7 * 255).resize((240, 160)))
    assert soft_edges(steep) is not None


def test_smooth_edges_are_found_in_little_memory():
    soft = np.asarray(
        Image.fromarray(np.kron(areas(), np.full((9, 9), 255, np.uint8))).resize((2000, 1500))
    )
    tracemalloc.start()
    assert soft_edges(soft) is not None
    assert tracemalloc.get_traced_memory()[1] < 20 * soft.size
    tracemalloc.stop()


def test_class_maps_with_thin_classes_are_no_soft_masks(tmp_path):
    labels = np.zeros((20, 20), np.uint8)
    labels[10:], labels[5, 3], labels[5, 5], labels[5, 7] = 255, 1, 2, 3
    made(tmp_path / "in", {"a": (labels, labels.shape)})
    assert convert(tmp_path / "in", tmp_path / "out").rule is Rule.NONE
    np.testing.assert_array_equal(written(tmp_path / "out"), labels)


def paletted(path, labels, colours):
    """A PNG of 8 bits with a palette that may be shorter than the numbers in it."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    height, width = labels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in labels)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", bytes(part for colour in colours for part in colour))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_palettes_that_differ_count_by_colour(tmp_path):
    truth = areas()
    trees.plain(tmp_path / "in", ["a", "b"])
    red, green, black = (255, 0, 0), (0, 255, 0), (0, 0, 0)
    paletted(tmp_path / "in" / "labels" / "a.png", truth, [black, red, green])
    turned = np.array([2, 0, 1], np.uint8)[truth]
    paletted(tmp_path / "in" / "labels" / "b.png", turned, [red, green, black])
    done = convert(tmp_path / "in", tmp_path / "out")
    assert done.rule is Rule.NEW
    np.testing.assert_array_equal(written(tmp_path / "out", "a"), written(tmp_path / "out", "b"))
    assert [entry.colour for entry in done.legend] == [black, green, red]


@pytest.mark.parametrize(
    ("colours", "message"),
    [
        ([(0, 0, 0), (255, 0, 0)], "holds 7, and its palette has colours for 0 to 1"),
        (
            [(0, 0, 0), (255, 0, 0)] + [(0, 0, 0)] * 6,
            "holds 0 and 7, and its palette has 0 0 0 for",
        ),
    ],
)
def test_a_number_without_a_colour_of_its_own_never_becomes_another_class(
    tmp_path, colours, message
):
    labels = areas()
    labels[labels == 2] = 7
    trees.plain(tmp_path / "in", ["a"])
    paletted(tmp_path / "in" / "labels" / "a.png", labels, colours)
    trees.save(tmp_path / "in" / "labels" / "b.png", COLOURS[areas()])  # so that colours count
    with pytest.raises(DataError, match=message):
        convert(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "labels" / "b.png").unlink()
    convert(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(written(tmp_path / "out"), labels)


POOL = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 255, 255), (128, 0, 0), (9, 9, 9), (0, 0, 255)]


@st.composite
def pictures(draw):
    """Label pictures of blocks: with palettes of any order and length, in grey, or in colours."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["palette", "grey", "colour", "wide"]))
        most = {"palette": 8, "grey": 255, "colour": len(POOL) - 1, "wide": 255}[kind]
        number = st.integers(0, min(most, 8)) | st.sampled_from([most])
        blocks = np.array(draw(st.lists(number, min_size=4, max_size=4))).reshape(2, 2)
        colours = draw(st.lists(st.sampled_from(POOL), min_size=1, max_size=9))
        found.append((kind, blocks.repeat(4, 0).repeat(4, 1).astype(np.uint8), colours))
    return found


def shown(kind, labels, colours):
    """The colour of each pixel, as a viewer has it; black where a palette has none."""
    if kind == "palette":
        table = np.array([*colours, *[(0, 0, 0)] * 256], np.uint8)
        return table[labels]
    return np.array(POOL, np.uint8)[labels] if kind == "colour" else np.stack([labels] * 3, 2)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(pictures())
def test_no_class_is_written_that_the_source_did_not_have(given_pictures):
    """What is one class there, by number or by colour, is one class here, and no two become one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trees.plain(folder / "in", [str(number) for number in range(len(given_pictures))])
        for number, (kind, labels, colours) in enumerate(given_pictures):
            path = folder / "in" / "labels" / f"{number}.png"
            if kind == "palette":
                paletted(path, labels, colours)
            elif kind == "wide":
                Image.fromarray(labels.astype(np.uint16) * 257).save(path)
            else:
                Image.fromarray(labels if kind == "grey" else shown(kind, labels, colours)).save(
                    path
                )
        try:
            convert(folder / "in", folder / "out")
        except DataError:
            return
        by_number, by_colour = set(), set()
        for number, (kind, labels, colours) in enumerate(given_pictures):
            found = written(folder / "out", str(number)).ravel().tolist()
            by_number |= set(zip(labels.ravel().tolist(), found, strict=True))
            pixels = map(tuple, shown(kind, labels, colours).reshape(-1, 3).tolist())
            by_colour |= set(zip(pixels, found, strict=True))
        assert any(
            len({old for old, _ in pairs}) == len({new for _, new in pairs}) == len(pairs)
            for pairs in (by_number, by_colour)
        ), (by_number, by_colour)


def test_16_bits(tmp_path):
    truth = areas()
    made(tmp_path / "in", {"a": (truth.astype(np.uint16) * 257, truth.shape)})
    assert convert(tmp_path / "in", tmp_path / "out").rule is Rule.WIDE
    np.testing.assert_array_equal(written(tmp_path / "out"), truth)
    made(tmp_path / "mask", {"a": ((truth > 0).astype(np.uint16) * 65535, truth.shape)})
    assert convert(tmp_path / "mask", tmp_path / "mask_out").rule is Rule.MASK
    np.testing.assert_array_equal(written(tmp_path / "mask_out"), truth > 0)
    made(tmp_path / "many", {"a": (truth.astype(np.uint16) * 300, truth.shape)})
    with pytest.raises(DataError, match="found 0 to 600"):
        convert(tmp_path / "many", tmp_path / "many_out")


def test_what_is_transparent_lies_over_black(tmp_path):
    truth = areas()
    alpha = np.where(truth == 0, 0, 255).astype(np.uint8)
    painted = COLOURS[truth]
    painted[truth == 0] = 77
    picture = np.dstack([painted, alpha])
    made(tmp_path / "in", {"a": (picture, truth.shape)})
    convert(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(written(tmp_path / "out"), np.array([0, 2, 1])[truth])


def test_label_maps_are_brought_to_the_size_of_their_images(tmp_path):
    truth = areas()
    made(
        tmp_path / "in",
        {"a": (truth, (80, 120)), "b": (truth, (20, 15)), "c": (truth, truth.shape)},
    )
    np.save(tmp_path / "in" / "labels" / "d.npy", truth)
    trees.save(tmp_path / "in" / "images" / "d.jpg", trees.colours(1, (80, 120)))
    done = convert(tmp_path / "in", tmp_path / "out", resize=True)
    np.testing.assert_array_equal(written(tmp_path / "out", "a"), truth.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(written(tmp_path / "out", "b"), truth[1::2, 2::4])
    np.testing.assert_array_equal(written(tmp_path / "out", "c"), truth)
    large = np.load(tmp_path / "out" / "labels" / "d.npy")
    np.testing.assert_array_equal(large, truth.repeat(2, 0).repeat(2, 1))
    assert "brought from 40×60 to 80×120" in str(done.notes[0]) and len(done.notes) == 2


@pytest.mark.parametrize("turn", range(1, 9))
def test_label_maps_of_stored_pixels_are_turned_with_their_images(tmp_path, turn):
    """The oracle is Pillow: what it makes of the same pixels as an image with that Exif."""
    truth = areas((10, 14))
    exif = Image.Exif()
    exif[274] = turn
    folder = tmp_path / "in"
    made(folder, {"a": (truth, truth.shape)})
    (folder / "images" / "a.jpg").unlink()
    Image.fromarray(truth).convert("RGB").save(folder / "images" / "a.png", exif=exif)
    convert(folder, tmp_path / "out", resize=True)
    upright = read_image(folder / "images" / "a.png", upright=True)[:, :, 0]
    if turn in (1, 5, 6, 7, 8):
        np.testing.assert_array_equal(written(tmp_path / "out"), upright)
    else:  # the sizes are alike, and nothing says over which the label map was drawn
        np.testing.assert_array_equal(written(tmp_path / "out"), truth)


def test_jpeg_label_maps(tmp_path):
    truth = areas()
    made(tmp_path / "in", {"a": (truth, truth.shape)}, "night 0 0 0\ncar 255 0 0\ngrass 0 255 0\n")
    (tmp_path / "in" / "labels" / "a.png").unlink()
    Image.fromarray(COLOURS[truth]).save(tmp_path / "in" / "labels" / "a.jpg", quality=90)
    with pytest.raises(DataError, match="is a JPEG"):
        convert(tmp_path / "in", tmp_path / "out")
    convert(tmp_path / "in", tmp_path / "out", nearest=True)
    assert (written(tmp_path / "out") != truth).mean() < 0.05


def test_masks_folder_and_voc_lists(tmp_path):
    truth = trees.plain(tmp_path / "in", ["a"], 2)
    (tmp_path / "in" / "labels").rename(tmp_path / "in" / "masks")
    (tmp_path / "in" / "images").rename(tmp_path / "in" / "JPEGImages")
    trees.split(tmp_path / "in" / "ImageSets" / "Segmentation" / "trainval.txt", ["a"])
    convert(tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(written(tmp_path / "out"), truth["a"])
    assert (tmp_path / "out" / "images" / "a.jpg").is_file()
    assert (tmp_path / "out" / "trainval.txt").read_text() == "a\n"


def test_labels_of_fractions_are_refused_and_whole_numbers_are_classes(tmp_path):
    """TIFF of floats, as GIS programs and MATLAB write label maps."""
    (tmp_path / "in" / "labels").mkdir(parents=True)
    labels = areas() * np.float32(7)
    for name, more in (("a", 0), ("b", 0.5), ("c", np.nan)):
        Image.fromarray(labels + np.float32(more)).save(tmp_path / "in" / "labels" / f"{name}.tif")
    with pytest.raises(DataError, match="holds fractions") as raised:
        convert(tmp_path / "in", tmp_path / "out")
    assert [Path(each.path).stem for each in raised.value.problems] == ["b", "c"]
    for name in "bc":
        (tmp_path / "in" / "labels" / f"{name}.tif").unlink()
    assert convert(tmp_path / "in", tmp_path / "out").rule is Rule.NONE
    np.testing.assert_array_equal(written(tmp_path / "out"), labels)


def test_greys_in_three_channels_are_said_to_be_numbered(tmp_path):
    for levels in ((0, 1, 2), (0, 5, 20), (0, 255, 0)):
        folder = tmp_path / str(levels[1])
        picture = np.stack([np.array(levels, np.uint8)[areas()]] * 3, axis=-1)
        made(folder, {"a": (picture, picture.shape[:2])})
        notes = [note.message for note in convert(folder, tmp_path / f"out{levels[1]}").notes]
        assert len(notes) == (levels == (0, 5, 20))
        assert all("the colours are greys, 0, 5, 20" in note for note in notes)


@pytest.mark.parametrize("verb", ["check", "convert"])
def test_images_beside_label_maps_under_other_names_are_no_label_maps(tmp_path, verb):
    """As CamVid and Cityscapes are laid out."""
    folder = tmp_path / "in"
    for place, mode in (("train", "RGB"), ("trainannot", "L")):
        (folder / place).mkdir(parents=True)
        Image.fromarray(areas()).convert(mode).save(folder / place / "a.png")
    args = ["dataset", verb, str(folder), *["-o", str(tmp_path / "out")] * (verb == "convert")]
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 1 and len(done.output.splitlines()) == 1
    assert "train/ holds pictures in colours and trainannot/ label maps: call" in done.output


def test_arrays_need_no_conversion(tmp_path):
    (tmp_path / "in" / "labels").mkdir(parents=True)
    np.save(tmp_path / "in" / "labels" / "a.npy", areas())
    with pytest.raises(DataError, match=r"are \.npy arrays, which are read as they are"):
        convert(tmp_path / "in", tmp_path / "out")
