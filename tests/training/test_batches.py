"""What Caffe's own data layers feed, against files written here and arithmetic done by hand."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fcnproto.cli import main
from fcnproto.errors import DataError, LayerError
from fcnproto.net.graph import State, build
from fcnproto.proto.caffe_pb2 import TEST, TRAIN, Datum
from fcnproto.proto.source import parse_net
from fcnproto.training.data import Data

h5py = pytest.importorskip("h5py")
lmdb = pytest.importorskip("lmdb")

RNG = np.random.default_rng(0)


def data(layer, folder, phase=TRAIN, seed=0):
    """What a net with this data layer is fed."""
    text = f'layer {{ name: "d" top: "data" top: "label" {layer} }}'
    text += 'layer { name: "s" type: "Silence" bottom: "data" bottom: "label" }'
    graph = build(parse_net(text, str(folder / "net.prototxt")), State(phase))
    return Data.of(graph, None, split="train", seed=seed)


def feeds(found, passes):
    draws = found.draws()
    return [found.read(next(draws)) for _ in range(passes)]


def database(folder, items, name="db"):
    """An LMDB as convert_imageset writes it, from (array C×H×W or bytes, label)."""
    file = lmdb.open(str(folder / name), map_size=2**24)
    with file.begin(write=True) as write:
        for number, (values, label) in enumerate(items):
            datum = Datum(label=label)
            if isinstance(values, bytes):
                datum.data, datum.encoded = values, True
            else:
                datum.channels, datum.height, datum.width = values.shape
                if values.dtype == np.uint8:
                    datum.data = values.tobytes()
                else:
                    datum.float_data.extend(values.ravel().tolist())
            write.put(f"{number:08d}".encode(), datum.SerializeToString())
    file.close()


def images(count=3, height=6, width=8):
    return [RNG.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def maps(count=3, height=6, width=8):
    return [RNG.integers(0, 5, (height, width), np.uint8) for _ in range(count)]


def written(folder, rgbs, labels=()):
    """Pictures in a folder: images/N.png and labels/N.png."""
    for name in ("images", "labels"):
        (folder / name).mkdir(exist_ok=True)
    for number, rgb in enumerate(rgbs):
        Image.fromarray(rgb).save(folder / "images" / f"{number}.png")
    for number, label in enumerate(labels):
        Image.fromarray(label).save(folder / "labels" / f"{number}.png")


def bgr(rgb):
    return rgb[:, :, ::-1].transpose(2, 0, 1).astype(np.float32)


# Databases ------------------------------------------------------------------------------------

DATA = 'type: "Data" data_param {{ source: "db" batch_size: {batch} backend: LMDB }}'


def test_a_database_is_read_in_its_order_round_and_round(tmp_path):
    arrays = [RNG.integers(0, 256, (3, 4, 5), np.uint8) for _ in range(3)]
    database(tmp_path, [(array, 7 + number) for number, array in enumerate(arrays)])
    layer = (
        DATA.format(batch=2)
        + " transform_param { scale: 0.5 mean_value: 1 mean_value: 2 mean_value: 3 }"
    )
    mean = np.float32([1, 2, 3]).reshape(3, 1, 1)
    found = feeds(data(layer, tmp_path), 3)
    for feed, numbers in zip(found, [(0, 1), (2, 0), (1, 2)], strict=True):
        assert feed["label"].tolist() == [7 + number for number in numbers]
        expected = np.stack([(arrays[number] - mean) * np.float32(0.5) for number in numbers])
        np.testing.assert_array_equal(feed["data"], expected)


def test_floats_and_encoded_images_of_a_database(tmp_path):
    floats = RNG.standard_normal((2, 3, 4)).astype(np.float32)
    (rgb,) = images(1)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    Image.fromarray(rgb[:, :, 0]).save(tmp_path / "g.png")
    encoded = (tmp_path / "a.png").read_bytes(), (tmp_path / "g.png").read_bytes()
    database(tmp_path, [(floats, 1)])
    database(tmp_path, [(encoded[0], 2)], "colour")
    database(tmp_path, [(encoded[1], 2)], "grey")
    (feed,) = feeds(data(DATA.format(batch=1), tmp_path), 1)
    np.testing.assert_array_equal(feed["data"][0], floats)
    layer = DATA.format(batch=1)
    (feed,) = feeds(data(layer.replace('"db"', '"colour"'), tmp_path), 1)
    np.testing.assert_array_equal(feed["data"][0], bgr(rgb))
    (feed,) = feeds(data(layer.replace('"db"', '"grey"'), tmp_path), 1)
    np.testing.assert_array_equal(feed["data"][0, 0], rgb[:, :, 0])
    layer += " transform_param { force_color: true }"
    (feed,) = feeds(data(layer.replace('"db"', '"grey"'), tmp_path), 1)
    np.testing.assert_array_equal(feed["data"][0], np.stack([rgb[:, :, 0]] * 3))


def test_a_database_of_labels_beside_one_of_images(tmp_path):
    """As DIGITS and NVIDIA's Caffe have them."""
    rgbs, labels = images(), maps()
    database(tmp_path, [(bgr(rgb).astype(np.uint8), 0) for rgb in rgbs], "images")
    database(tmp_path, [(label[np.newaxis], 0) for label in labels], "labels")
    layer = (
        'type: "ImageLabelData" image_label_data_param { image_list_path: "images" batch_size: 3'
        ' label_list_path: "labels" backend: LMDB threads: 2 } transform_param { crop_size: 4'
        " mirror: true }"
    )
    (feed,) = feeds(data(layer, tmp_path), 1)
    assert feed["data"].shape == (3, 3, 4, 4)
    assert feed["label"].shape == (3, 1, 4, 4)
    for number in range(3):
        assert _places(feed, number, bgr(rgbs[number]), labels[number])


def _places(feed, number, image, labels):
    """Whether image and labels were cut out at one place, mirrored alike or not."""
    size = feed["data"].shape[2:]
    for top in range(image.shape[1] - size[0] + 1):
        for left in range(image.shape[2] - size[1] + 1):
            cut = slice(top, top + size[0]), slice(left, left + size[1])
            for turn in (1, -1):
                if (feed["data"][number] == image[:, *cut][:, :, ::turn]).all():
                    return (feed["label"][number, 0] == labels[cut][:, ::turn]).all()
    return False


def test_the_mean_of_a_file_lies_where_the_image_did(tmp_path):
    from fcnproto.proto.caffe_pb2 import BlobProto

    array = RNG.integers(0, 256, (3, 6, 8), np.uint8)
    mean = RNG.standard_normal((3, 6, 8)).astype(np.float32)
    blob = BlobProto(num=1, channels=3, height=6, width=8, data=mean.ravel())
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    database(tmp_path, [(array, 0)])
    layer = DATA.format(batch=1) + ' transform_param { crop_size: 4 mean_file: "mean.binaryproto" }'
    (feed,) = feeds(data(layer, tmp_path, TEST), 1)
    np.testing.assert_array_equal(feed["data"][0], (array - mean)[:, 1:5, 2:6])


# HDF5 -----------------------------------------------------------------------------------------

TABLES = 'type: "HDF5Data" hdf5_data_param {{ source: "list.txt" batch_size: 3 {} }}'


def tables(folder, rows=(2, 3)):
    arrays = [RNG.standard_normal((count, 2, 4, 5)).astype(np.float32) for count in rows]
    for number, array in enumerate(arrays):
        with h5py.File(folder / f"{number}.h5", "w") as file:
            file["data"] = array
            file["label"] = np.arange(len(array), dtype=np.float64) + 10 * number
    (folder / "list.txt").write_text("".join(f"{number}.h5\n" for number in range(len(rows))))
    return np.concatenate(arrays)


def test_tables_are_read_row_by_row_from_file_to_file(tmp_path):
    array = tables(tmp_path)
    labels = [0, 1, 10, 11, 12]
    for feed, numbers in zip(
        feeds(data(TABLES.format(""), tmp_path), 2), [(0, 1, 2), (3, 4, 0)], strict=True
    ):
        np.testing.assert_array_equal(feed["data"], array[list(numbers)])
        assert feed["label"].tolist() == [labels[number] for number in numbers]


def test_what_is_shuffled_comes_once_each_time_through(tmp_path):
    tables(tmp_path)
    found = feeds(data(TABLES.format("shuffle: true"), tmp_path), 10)
    labels = np.concatenate([feed["label"] for feed in found]).reshape(6, 5)
    assert all(sorted(line) == [0, 1, 10, 11, 12] for line in labels.tolist())
    assert len({tuple(line) for line in labels.tolist()}) > 3
    again = feeds(data(TABLES.format("shuffle: true"), tmp_path), 10)
    assert all((a["label"] == b["label"]).all() for a, b in zip(found, again, strict=True))
    other = feeds(data(TABLES.format("shuffle: true"), tmp_path, seed=1), 10)
    assert any((a["label"] != b["label"]).any() for a, b in zip(found, other, strict=True))


# Lists ----------------------------------------------------------------------------------------


def test_images_with_numbers(tmp_path):
    rgbs = images()
    written(tmp_path, rgbs)
    (tmp_path / "list.txt").write_text("images/0.png 4\nimages/1.png -1\n\nimages/2.png 9\n")
    layer = 'type: "ImageData" image_data_param { source: "list.txt" batch_size: 3 }'
    (feed,) = feeds(data(layer, tmp_path), 1)
    assert feed["label"].tolist() == [4, -1, 9]
    np.testing.assert_array_equal(feed["data"], np.stack([bgr(rgb) for rgb in rgbs]))
    layer = layer.replace("batch_size: 3", "batch_size: 1 is_color: false")
    (feed,) = feeds(data(layer, tmp_path), 1)
    grey = np.asarray(Image.fromarray(rgbs[0]).convert("L"), np.float32)
    assert np.abs(feed["data"][0, 0] - grey).max() <= 1


PAIRS = {
    "ImageSegData": ("image_data_param", ""),
    "DenseImageData": ("dense_image_data_param", ""),
    "ImageLabelmapData": ("image_data_param", ""),
}


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("sep", [" ", "\t"])
@pytest.mark.parametrize("root", ["", "root"])
def test_images_with_label_maps(tmp_path, kind, sep, root):
    rgbs, labels = images(), maps()
    written(tmp_path, rgbs, labels)
    start = "" if root == "" else "/"  # as DeepLab's lists have it
    lines = [f"{start}images/{n}.png{sep}{start}labels/{n}.png" for n in range(3)]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    given = f'root_folder: "{tmp_path}"' if root else ""
    settings, _ = PAIRS[kind]
    layer = f'type: "{kind}" {settings} {{ source: "list.txt" batch_size: 3 {given} '
    layer += "label_type: PIXEL }" if kind == "ImageSegData" else "}"
    if kind == "ImageSegData":
        layer += ' top: "dim"'
    (feed,) = feeds(data(layer, tmp_path), 1)
    np.testing.assert_array_equal(feed["data"], np.stack([bgr(rgb) for rgb in rgbs]))
    np.testing.assert_array_equal(feed["label"][:, 0], np.stack(labels))
    if kind == "ImageSegData":
        assert feed["dim"].tolist() == [[[[6, 8]]]] * 3


def test_two_lists(tmp_path):
    rgbs, labels = images(height=12, width=12), maps(height=12, width=12)
    written(tmp_path, rgbs, labels)
    for name in ("images", "labels"):
        (tmp_path / f"{name}.txt").write_text("".join(f"{n}.png\n" for n in range(3)))
    layer = (
        'type: "ImageLabelData" transform_param { crop_size: 16 } image_label_data_param {'
        ' image_list_path: "images.txt" label_list_path: "labels.txt" batch_size: 1 padding: %s'
        f' image_dir: "{tmp_path}/images/" label_dir: "{tmp_path}/labels/" label_slice {{'
        " dim: 4 dim: 6 stride: 3 stride: 2 offset: 2 offset: 2 } }"
    )
    (feed,) = feeds(data(layer % "REFLECT", tmp_path), 1)
    expected = np.pad(bgr(rgbs[0]), [(0, 0), (2, 2), (2, 2)], mode="reflect")
    np.testing.assert_array_equal(feed["data"][0], expected)
    around = np.pad(labels[0], 2, constant_values=255)
    np.testing.assert_array_equal(feed["label"][0, 0], around[2:14:3, 2:14:2])
    layer = layer.replace("crop_size: 16", "crop_size: 16 mean_value: 9")
    (feed,) = feeds(data(layer % "ZERO", tmp_path), 1)
    expected = np.pad(bgr(rgbs[0]), [(0, 0), (2, 2), (2, 2)]) - 9
    np.testing.assert_array_equal(feed["data"][0], expected)


@pytest.mark.parametrize("phase", [TRAIN, TEST])
def test_a_crop_that_is_larger_than_the_image(tmp_path, phase):
    """DeepLab's is made larger at the bottom and right, with the mean and with what is ignored."""
    rgbs, labels = images(1), maps(1)
    written(tmp_path, rgbs, labels)
    (tmp_path / "list.txt").write_text("images/0.png labels/0.png")
    layer = (
        'type: "ImageSegData" top: "dim" transform_param { crop_size: 7 mean_value: 5'
        " mirror: true }"
        ' image_data_param { source: "list.txt" ignore_label: 77 label_type: PIXEL }'
    )
    image = np.pad(bgr(rgbs[0]) - 5, [(0, 0), (0, 1), (0, 0)])
    around = np.pad(labels[0], [(0, 1), (0, 0)], constant_values=77)
    for feed in feeds(data(layer, tmp_path, phase), 8):
        assert _places(feed, 0, image, around)
        assert (feed["data"][0, :, 6] == 0).all()


def test_images_are_resized_as_opencv_does(tmp_path):
    rgb = np.zeros((4, 4, 3), np.uint8)
    rgb[..., 0] = np.arange(16).reshape(4, 4) * 10
    label = np.arange(16, dtype=np.uint8).reshape(4, 4)
    written(tmp_path, [rgb], [label])
    (tmp_path / "list.txt").write_text("images/0.png labels/0.png")
    layer = (
        'type: "DenseImageData" dense_image_data_param { source: "list.txt" batch_size: 1'
        " new_height: 8 new_width: 2 label_divide_factor: 2 }"
    )
    (feed,) = feeds(data(layer, tmp_path), 1)
    # Columns between 0 and 1, 2 and 3; rows a quarter and three quarters of the way.
    columns = np.float64([0.5, 2.5]) * 10
    rows = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3) * 40
    expected = np.rint(rows[:, np.newaxis] + columns)
    np.testing.assert_array_equal(feed["data"][0, 2], expected)
    assert feed["label"].shape == (1, 1, 4, 1)


def test_segnets_crop_stands_at_the_bottom(tmp_path):
    rgbs, labels = images(1), maps(1)
    written(tmp_path, rgbs, labels)
    (tmp_path / "list.txt").write_text("images/0.png labels/0.png")
    layer = (
        'type: "DenseImageData" dense_image_data_param { source: "list.txt" batch_size: 1'
        " crop_height: 3 crop_width: 4 }"
    )
    seen = set()
    for feed in feeds(data(layer, tmp_path), 30):
        (left,) = [
            each for each in range(5)
            if (feed["label"][0, 0] == labels[0][3:, each : each + 4]).all()
        ]  # fmt: skip
        np.testing.assert_array_equal(feed["data"][0], bgr(rgbs[0])[:, 3:, left : left + 4])
        seen.add(left)
    assert seen == set(range(5))


def test_maps_of_edges_become_0_and_1(tmp_path):
    rgbs = images(1)
    edges = np.repeat(np.uint8([[0, 127, 128, 255]]), 6, 0).repeat(2, 1)
    written(tmp_path, rgbs, [np.stack([edges] * 3, 2)])
    (tmp_path / "list.txt").write_text("images/0.png labels/0.png")
    layer = 'type: "ImageLabelmapData" image_data_param { source: "list.txt" batch_size: 1 } '
    (feed,) = feeds(data(layer, tmp_path), 1)
    np.testing.assert_array_equal(feed["label"][0, 0], edges)
    layer += "image_label_map_data_param { scale_gt: true }"
    (feed,) = feeds(data(layer, tmp_path), 1)
    np.testing.assert_array_equal(feed["label"][0, 0], edges >= 128)


@pytest.mark.parametrize("turn", range(1, 9))
def test_images_are_turned_as_their_exif_says_and_their_labels_with_them(tmp_path, turn):
    """Labels drawn over the stored pixels turn with them; those drawn upright stay."""
    from PIL import ImageOps

    (rgb,), (label,) = images(1), maps(1)
    exif = Image.Exif()
    exif[274] = turn
    (tmp_path / "images").mkdir()
    image = Image.fromarray(rgb)
    image.save(tmp_path / "images/0.png", exif=exif)
    with Image.open(tmp_path / "images/0.png") as again:
        upright = np.asarray(ImageOps.exif_transpose(again))
    (tmp_path / "labels").mkdir()
    Image.fromarray(label).save(tmp_path / "labels/0.png")
    (tmp_path / "list.txt").write_text("images/0.png labels/0.png")
    layer = 'type: "DenseImageData" dense_image_data_param { source: "list.txt" batch_size: 1 }'
    (feed,) = feeds(data(layer, tmp_path), 1)
    np.testing.assert_array_equal(feed["data"][0], bgr(upright))
    assert feed["label"].shape[2:] == feed["data"].shape[2:]
    if turn >= 5:  # lying: the map can only have been drawn over the stored pixels
        marked = Image.fromarray(label)
        marked.save(tmp_path / "marked.png", exif=exif)
        with Image.open(tmp_path / "marked.png") as again:
            expected = np.asarray(ImageOps.exif_transpose(again))
        np.testing.assert_array_equal(feed["label"][0, 0], expected)


# What is wrong ----------------------------------------------------------------------------------


def refused(layer, folder, message, kind=DataError):
    with pytest.raises(kind, match=message) as caught:
        feeds(data(layer, folder), 1)
    return caught.value


def test_databases_that_are_none(tmp_path):
    layer = DATA.format(batch=1)
    refused(layer, tmp_path, "there is no such database")
    (tmp_path / "db").mkdir()
    refused(layer, tmp_path, "cannot be read as an LMDB")
    (tmp_path / "db" / "CURRENT").write_text("MANIFEST-000001\n")
    refused(layer, tmp_path, "is a LevelDB, .*make it an LMDB")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is empty"),
        (b"\xff\xff\xff", "item 1 is no Datum"),
        (Datum(channels=3, height=30000, width=30000, data=b"12"), "3×30000×30000, and holds 2"),
        (Datum(channels=-1, height=1, width=-2, data=b"12"), "and holds 2 numbers"),
        (Datum(data=b"no image", encoded=True), "an image that cannot be read"),
    ],
)
def test_a_database_that_holds_something_else(tmp_path, content, message):
    file = lmdb.open(str(tmp_path / "db"), map_size=2**20)
    if content is not None:
        with file.begin(write=True) as write:
            write.put(b"0", content if isinstance(content, bytes) else content.SerializeToString())
    file.close()
    refused(DATA.format(batch=1), tmp_path, message)


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_a_database_that_was_cut_off(tmp_path, part):
    """LMDB maps what is not there as well: reading it ends the process."""
    items = [(np.full((3, 60, 60), n, np.uint8), n) for n in range(9)]
    database(tmp_path, items)
    (file,) = tmp_path.rglob("data.mdb")
    content = file.read_bytes()
    file.write_bytes(content[: int(part * len(content))])
    refused(DATA.format(batch=1), tmp_path, f"is cut off: it has {file.stat().st_size} of ")


def test_a_database_that_several_layers_read(tmp_path):
    """A process may open an LMDB only once."""
    database(tmp_path, [(np.full((1, 2, 2), n, np.uint8), n) for n in range(3)])
    first, second = (data(DATA.format(batch=1), tmp_path, phase) for phase in (TRAIN, TEST))
    assert feeds(first, 1)[0]["label"] == feeds(second, 1)[0]["label"] == 0


def test_a_batch_of_items_that_differ_in_size(tmp_path):
    database(tmp_path, [(np.zeros((3, 4, n), np.uint8), 0) for n in (5, 6)])
    refused(DATA.format(batch=2), tmp_path, "items of one size, found 3×4×5, 3×4×6")


def test_tables_that_do_not_fit(tmp_path):
    layer = TABLES.format("")
    refused(layer, tmp_path, "list.txt")
    (tmp_path / "list.txt").write_text("0.h5\n1.h5\n")
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file["data"], file["other"] = np.zeros((2, 3)), np.zeros(2)
    told = str(refused(layer, tmp_path, "no data set 'label', only data, other"))
    assert "1.h5: error: there is no such file" in told
    with h5py.File(tmp_path / "1.h5", "w") as file:
        file["data"], file["label"] = np.zeros((2, 3)), np.zeros(3)
    (tmp_path / "list.txt").write_text("1.h5\n")
    refused(layer, tmp_path, "differ in rows: 'data' 2, 'label' 3")
    with h5py.File(tmp_path / "1.h5", "w") as file:
        file["data"] = np.zeros((2, 3))
        file["label"] = h5py.ExternalLink("0.h5", "other")
    refused(layer, tmp_path, "links are not followed")


SEG = (
    'type: "DenseImageData" dense_image_data_param { source: "list.txt" batch_size: 1 }'
    " transform_param { %s }"
)


def test_lists_that_name_nothing_that_is_there(tmp_path):
    written(tmp_path, images(1), maps(1, 6, 7))
    refused(SEG % "", tmp_path, "list.txt")
    (tmp_path / "list.txt").write_text("\n")
    refused(SEG % "", tmp_path, "names nothing")
    (tmp_path / "list.txt").write_text("images/0.png labels/0.png\nimages/0.png\n")
    refused(SEG % "", tmp_path, "list.txt:2: error: expected 2 columns, found 1")
    (tmp_path / "list.txt").write_text("images/0.png labels/9.png\nimages/8.png labels/0.png\n")
    told = str(refused(SEG % "", tmp_path, "there is no such file"))
    assert "labels/9.png" in told and "images/8.png" in told
    (tmp_path / "list.txt").write_text("images/0.png labels/0.png\n")
    refused(SEG % "", tmp_path, r"labels/0.png: error: image and label map .* 6×8 and 6×7")


@pytest.mark.parametrize(
    ("settings", "message", "kind"),
    [
        ("crop_size: 9", "a crop of 9×9 does not fit an image of 6×8", DataError),
        ("mean_value: 1 mean_value: 2", "given 2 times for 3 channels", DataError),
        ('mean_file: "no.binaryproto"', "no.binaryproto", DataError),
        ("noise_param { prob: 1 }", "noise_param of transform_param is not done", DataError),
    ],
)
def test_transforms_that_cannot_be_done(tmp_path, settings, message, kind):
    written(tmp_path, images(1), maps(1))
    (tmp_path / "list.txt").write_text("images/0.png labels/0.png\n")
    refused(SEG % settings, tmp_path, message, kind)


def test_layers_whose_data_are_not_read(tmp_path):
    layer = 'type: "WindowData" window_data_param { source: "x" batch_size: 1 } transform_param { crop_size: 3 }'  # noqa: E501
    refused(layer, tmp_path, "data of type WindowData are not read here", (DataError, LayerError))


def test_deeplabs_images_without_the_top_of_their_sizes(tmp_path):
    """DeepLab's training nets name two tops; Caffe makes the third itself (AutoTopBlobs)."""
    written(tmp_path, images(), maps())
    (tmp_path / "list.txt").write_text("/images/0.png /labels/0.png\n")
    (tmp_path / "net.prototxt").write_text(
        'layers { name: "d" type: IMAGE_SEG_DATA top: "data" top: "label" image_data_param {'
        ' source: "list.txt" batch_size: 1 label_type: PIXEL } }'
        ' layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" convolution_param {'
        ' num_output: 5 kernel_size: 1 weight_filler { type: "xavier" } } }'
        ' layers { name: "l" type: SOFTMAX_LOSS bottom: "c" bottom: "label"'
        " loss_param { ignore_label: 255 } }"
    )
    (tmp_path / "solver.prototxt").write_text(
        f'net: "{tmp_path}/net.prototxt" base_lr: 0.001 lr_policy: "fixed" max_iter: 1'
        f' snapshot_prefix: "{tmp_path}/run"'
    )
    result = CliRunner().invoke(main, ["train", str(tmp_path / "solver.prototxt")])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run_iter_1.caffemodel").is_file()
