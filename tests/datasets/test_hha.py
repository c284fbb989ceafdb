"""HHA on rooms whose depth, heights and angles are known."""

import numpy as np
import pytest
import rooms
import trees
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fcnproto.datasets.hha import (
    Camera,
    encode,
    encode_file,
    encode_folder,
    gravity,
    in_metres,
    normals,
    sources,
)
from fcnproto.errors import DataError

SMALL = (120, 160)
SMALL_CAMERA = Camera(130.0, 130.0, 80.0, 60.0)


def degrees_between(one, other):
    return np.degrees(np.arccos(np.clip(one @ other, -1, 1)))


@pytest.mark.parametrize(("pitch", "roll"), [(15, 0), (0, 0), (30, 8), (40, 0), (20, -15)])
def test_a_room_under_a_tilted_camera(pitch, roll):
    room = rooms.view(pitch, roll)
    found = encode(room.depth, rooms.CAMERA)
    assert degrees_between(found.gravity, room.down) < 0.5
    assert found.floor == pytest.approx(1.4, abs=0.02)
    assert found.holes == 0 and found.notes == ()
    disparity, height, angle = np.moveaxis(found.image.astype(float), 2, 0)
    np.testing.assert_allclose(disparity, np.clip(310 / room.depth, 0, 255), rtol=0, atol=0.501)
    np.testing.assert_allclose(height, np.clip(100 * room.height, 0, 255), rtol=0, atol=2.5)
    # Where two surfaces meet, the square around a pixel holds both: within it there is no truth.
    off = np.abs(angle - (room.angle + 38))
    assert np.median(off) <= 0.5 and np.percentile(off, 85) <= 1


def test_floor_ceiling_walls_box_and_ramp_have_their_own_numbers():
    room = rooms.view(15, 0)
    blue = encode(room.depth, rooms.CAMERA).image[:, :, 2]
    expected = {"floor": 38, "back": 128, "left": 128, "top of box": 38, "front of box": 128}
    for name, number in {**expected, "ramp": 58}.items():
        there = blue[room.surface == rooms.SURFACES.index(name)]
        assert abs(int(np.median(there)) - number) <= 1, name
    up = encode((above := rooms.view(-5, 0)).depth, rooms.CAMERA).image[:, :, 2]
    ceiling = up[above.surface == rooms.SURFACES.index("ceiling")]
    assert abs(int(np.median(ceiling)) - 218) <= 1


@settings(max_examples=15, deadline=None)
@given(st.floats(5, 35), st.floats(-15, 15), st.floats(1.1, 1.9), st.integers(0, 2**16))
def test_any_camera_in_the_room_with_noise(pitch, roll, above, seed):
    room = rooms.view(pitch, roll, above, SMALL_CAMERA, SMALL)
    noise = 1 + 0.002 * np.random.default_rng(seed).standard_normal(SMALL)
    found = encode(room.depth * noise, SMALL_CAMERA)
    assert degrees_between(found.gravity, room.down) < 2
    lowest = np.percentile(room.height, 0.1)
    assert found.floor == pytest.approx(above - lowest, abs=0.1)


@settings(max_examples=40, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(0.5, 8))
def test_the_normal_of_a_plane(x, y, distance):
    direction = np.array([x, y, 1.0]) / np.linalg.norm([x, y, 1.0])
    facing = np.einsum("c,chw->hw", direction, SMALL_CAMERA.rays(SMALL))
    known = facing > 0.05
    depth = np.where(known, distance / np.where(known, facing, 1), 0)
    found = normals(depth, known, SMALL_CAMERA, 3)
    inside = np.isfinite(found[0]) & known
    assert inside.any()
    assert np.abs(found[:, inside] - direction[:, np.newaxis]).max() < 1e-6


def test_gravity_is_across_walls_and_along_floors():
    rotation = rooms.turn(25, 10)
    down, wall, other = rotation.T @ np.eye(3)[1], rotation.T @ np.eye(3)[0], rotation.T[:, 2]
    surfaces = np.stack([down] * 20 + [wall] * 30 + [-wall] * 5 + [other] * 10, axis=1)
    assert degrees_between(gravity(surfaces), down) < 1e-4
    walls_alone = np.stack([wall] * 30 + [other] * 10, axis=1)
    assert degrees_between(gravity(walls_alone), down) < 1e-4


def test_holes_are_said_and_filled_from_the_farther_side():
    depth = np.array([[1.0, 0, 0, 3.0], [0, 0, 0, 0], [0, 2.0, 0, 0]])
    source = sources(depth, depth > 0)
    assert depth.ravel()[source].tolist() == [[1, 3, 3, 3], [1, 3, 3, 3], [2, 2, 2, 2]]
    room = rooms.view(20, 0, camera=SMALL_CAMERA, size=SMALL)
    holed = room.depth.copy()
    holed[40:60, 70:90] = 0
    holed[0, :10] = np.nan
    found = encode(holed, SMALL_CAMERA, "a.png")
    assert found.holes == pytest.approx(410 / holed.size)
    assert [str(note) for note in found.notes] == [
        "a.png: warning: 2.1% of its pixels have no depth: taken from the farther side of the row"
    ]
    whole = encode(room.depth, SMALL_CAMERA).image.astype(int)
    assert np.median(np.abs(found.image.astype(int) - whole)) == 0


def test_no_floor_in_view_is_said():
    depth = np.full(SMALL, 0.8)
    found = encode(depth, SMALL_CAMERA)
    assert found.floor == 1.3 and "no floor is seen, the lowest point is 0.3" in str(found.notes[0])


def test_a_direction_that_cannot_be_trusted_is_said():
    found = encode(rooms.view(44, 20).depth, rooms.CAMERA)
    assert "off the image's own downwards, too far to be sure" in str(found.notes[0])


def test_a_wall_alone_keeps_the_image_s_own_direction():
    found = encode(np.full(SMALL, 2.0), SMALL_CAMERA)
    assert degrees_between(found.gravity, np.array([0, 1, 0])) < 0.1
    assert (found.image[:, :, 2] == 128).all()


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (np.zeros(SMALL), "has no pixel with a depth"),
        (np.eye(160)[:120] * np.where(np.arange(160) == 7, 1, 0), "has no surface"),
    ],
)
def test_nothing_to_encode(depth, message):
    with pytest.raises(DataError, match=message):
        encode(depth, SMALL_CAMERA, "a.png")


# Files ------------------------------------------------------------------------------------------


def test_millimetres_metres_and_arrays_are_one(tmp_path):
    room = rooms.view(20, 3)
    trees.save(tmp_path / "mm.png", np.round(room.depth * 1000).astype(np.uint16))
    trees.save(tmp_path / "m.tif", room.depth.astype(np.float32))
    np.save(tmp_path / "m.npy", room.depth)
    images = [
        encode_file(tmp_path / name).image.astype(int) for name in ("mm.png", "m.tif", "m.npy")
    ]
    assert np.abs(images[1] - images[2]).max() <= 1
    assert np.median(np.abs(images[0] - images[2])) == 0
    assert np.percentile(np.abs(images[0] - images[2]), 95) <= 2


def test_units_that_cannot_be_right():
    depth = np.full((4, 4), 2500, np.uint16)
    assert in_metres(depth, True, None)[0, 0] == 2.5
    with pytest.raises(DataError, match=r"under 2.5e\+03 m if they are in m: say the unit"):
        in_metres(depth, True, "m")
    with pytest.raises(DataError, match=r"under 0.002 m if they are in mm"):
        in_metres(np.full((4, 4), 2, np.uint16), True, None)
    assert in_metres(np.full((4, 4), 2, np.uint16), True, "m")[0, 0] == 2


def test_the_camera_of_nyud_is_for_its_own_sizes(tmp_path):
    whole, cut = Camera.of_nyud((480, 640)), Camera.of_nyud((425, 560))
    assert (whole.cx - cut.cx, whole.cy - cut.cy) == (40, 45) and whole.fx == cut.fx
    trees.save(tmp_path / "a.png", np.full((240, 320), 2000, np.uint16))
    with pytest.raises(DataError, match=r"a\.png: error: is 240×320, .* --camera fx,fy,cx,cy"):
        encode_file(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0, 1, 0, 0), "must be positive, found 0 and 1"),
        ((1, float("nan"), 0, 0), "in pixels, at most 1,000,000"),
        ((1e308, 1, 0, 0), "in pixels, at most 1,000,000"),
        ((1, 1, 0, -1e300), "in pixels, at most 1,000,000"),
        ((1e-308, 1, 0, 0), "in pixels, at least 0.001, found 1e-308 and 1"),
    ],
)
def test_numbers_of_no_camera(numbers, message):
    with pytest.raises(DataError, match=message):
        Camera(*numbers)


@pytest.mark.parametrize("numbers", [(1e-3, 1e-3, 1e6, -1e6), (1e6, 1e-3, 0, 0), (1e6,) * 4])
def test_an_odd_camera_computes_without_a_warning(numbers):
    depth = 2 + np.random.default_rng(0).random((40, 50))
    assert encode(depth, Camera(*numbers)).image.shape == (40, 50, 3)


def test_a_folder_goes_on_after_a_bad_file(tmp_path):
    good = rooms.view(20, 0, camera=SMALL_CAMERA, size=SMALL).depth
    folder, output = tmp_path / "depth", tmp_path / "hha"
    trees.save(folder / "x" / "a.png", np.round(good * 1000).astype(np.uint16))
    trees.save(folder / "b.png", np.zeros(SMALL, np.uint8))
    trees.save(folder / "c.png", np.zeros(SMALL, np.uint16))
    (folder / "d.png").write_bytes(b"no picture")
    outcomes = {each.path.name: each for each in encode_folder(folder, output, SMALL_CAMERA)}
    assert [name for name, each in outcomes.items() if each.found] == ["a.png"]
    assert "has 8 bits, a picture of depth in no unit" in str(outcomes["b.png"].problems[0])
    assert "has no pixel with a depth" in str(outcomes["c.png"].problems[0])
    assert "cannot be read" in str(outcomes["d.png"].problems[0])
    found = np.asarray(Image.open(output / "x" / "a.png"))
    np.testing.assert_array_equal(found, outcomes["a.png"].found.image)
    assert [path.name for path in output.rglob("*.png")] == ["a.png"]
    with pytest.raises(DataError, match="it exists; --force overwrites it"):
        list(encode_folder(folder, output, SMALL_CAMERA))
    assert any(each.found for each in encode_folder(folder, output, SMALL_CAMERA, force=True))
    with pytest.raises(DataError, match="choose another for -o"):
        list(encode_folder(folder, folder, SMALL_CAMERA))
