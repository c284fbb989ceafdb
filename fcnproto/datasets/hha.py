"""HHA: a depth map as horizontal disparity, height above ground, and angle with gravity.

As Gupta, Girshick, Arbeláez and Malik encode them ("Learning Rich Features from RGB-D Images for
Object Detection and Segmentation", 2014, section 3), for nets that are trained on NYUDv2. Camera
coordinates are x to the right, y down, z ahead, in metres.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from fcnproto.datasets.pictures import by_name, read_depth_map
from fcnproto.errors import DataError, Problem, Severity
from fcnproto.files import replacing
from fcnproto.runtime.images import ImageError, ImageSource
from fcnproto.types import Array, show

# Of each channel: red is disparity, green height, blue the angle.
DISPARITY = 310.0
"""Disparity is this over the depth in metres; a depth under `NEAREST` counts as that."""
NEAREST = 1.0
CENTIMETRES = 100.0
"""Height is in centimetres above the lowest point."""
UPRIGHT = 128.0
"""The number of a surface that stands upright, at 90° to gravity; each degree counts 1. The floor
is 38, the ceiling 218."""

ROUNDS = ((45.0, 5), (15.0, 5))
"""Gravity is found in rounds: first with all surfaces within 45° of floor or wall, then 15°."""
NEAR, FAR = 3, 10
"""Normals are fitted to squares of 2·3 + 1 pixels for the angle, and 2·10 + 1 for gravity."""

LOWEST, CAMERA_HEIGHT = 0.9, 1.3
"""Where nothing is seen 0.9 m under the camera, the floor is not seen and is taken 1.3 m under."""
FLOOR_PERCENTILE = 0.1
"""Of all heights: the few pixels under the floor are noise."""

PLAUSIBLE = (0.1, 50.0)
"""The median depth of a room, in metres, in any unit that is understood right."""

SHORTEST, FARTHEST = 1e-3, 1_000_000
"""The numbers of a camera, in pixels; beyond them nothing can be computed of its rays."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: focal lengths and principal point, in pixels."""

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        if not all(abs(each) <= FARTHEST for each in (self.fx, self.fy, self.cx, self.cy)):
            raise DataError(f"a camera's numbers are in pixels, at most {FARTHEST:,}")
        if self.fx <= 0 or self.fy <= 0:
            raise DataError(f"focal lengths must be positive, found {self.fx:g} and {self.fy:g}")
        if min(self.fx, self.fy) < SHORTEST:
            message = f"focal lengths are in pixels, at least {SHORTEST:g}"
            raise DataError(f"{message}, found {self.fx:g} and {self.fy:g}")

    @classmethod
    def of_nyud(cls, size: tuple[int, int]) -> Camera:
        """That of NYUDv2, for its images of 480 × 640 and those that Gupta cut to 425 × 560.

        Raises DataError for another size, of which it says nothing.
        """
        crops = {(480, 640): (0, 0), (425, 560): (45, 40)}
        if size not in crops:
            known = " and ".join(map(show, crops))
            message = (
                f"is {size[0]}×{size[1]}, and NYUDv2's camera is known for {known}: say yours with"
                " --camera fx,fy,cx,cy, in pixels"
            )
            raise DataError(message)
        top, left = crops[size]
        return cls(518.857901, 519.469611, 325.582449 - left, 253.736166 - top)

    def rays(self, size: tuple[int, int]) -> Array:
        """The point of each pixel at depth 1, 3 × H × W."""
        x = (np.arange(size[1]) - self.cx) / self.fx
        y = (np.arange(size[0]) - self.cy) / self.fy
        return np.stack([*np.broadcast_arrays(x, y[:, np.newaxis]), np.ones(size)])


@dataclass(frozen=True)
class Hha:
    """A depth map's HHA, and what was found on the way."""

    image: Array
    """H×W×3 uint8: disparity, height, angle."""
    gravity: Array
    """The direction downwards in camera coordinates, of length 1."""
    floor: float
    """How far the floor lies under the camera, in metres along gravity."""
    holes: float
    """The share of pixels without a depth."""
    notes: tuple[Problem, ...] = ()


def encode(depth: Array, camera: Camera, place: str | None = None) -> Hha:
    """The HHA of a depth map H×W in metres; 0, NaN and infinity are holes.

    A hole has the depth of the farther of the pixels left and right of it: what casts the shadow
    of a depth camera stands before what is hidden. Raises DataError if there is no depth at all,
    or no surface.
    """
    known = np.isfinite(depth) & (depth > 0)
    holes = 1 - float(known.mean()) if known.size else 1.0
    if holes == 1:
        raise DataError(Problem("has no pixel with a depth", place))
    rays = camera.rays(depth.shape)
    far = normals(depth, known, camera, FAR)
    near = normals(depth, known, camera, NEAR)
    surfaces = far[:, np.isfinite(far[0])]
    if not surfaces.size:
        raise DataError(Problem("has no surface: its depths are too few or too scattered", place))
    down = gravity(surfaces)
    source = sources(np.where(known, depth, 0.0), known)
    filled = depth.ravel()[source]
    height = -(rays * filled * down[:, np.newaxis, np.newaxis]).sum(axis=0)
    lowest = float(np.percentile(height[known], FLOOR_PERCENTILE))
    floor = -lowest if lowest <= -LOWEST else CAMERA_HEIGHT
    cosine = np.einsum("chw,c->hw", near, down)
    cosine = np.where(np.isfinite(cosine), cosine, cosine.ravel()[source])
    # Where there is no surface either, none is known to be level.
    angle = np.degrees(np.arccos(np.clip(np.nan_to_num(cosine), -1, 1)))
    channels = (
        DISPARITY / np.maximum(filled, NEAREST),
        (height + floor) * CENTIMETRES,
        angle - 90 + UPRIGHT,
    )
    image = np.stack([np.clip(np.floor(each + 0.5), 0, 255) for each in channels], axis=2)
    notes = tuple(_notes(holes, lowest, down, place))
    return Hha(image.astype(np.uint8), down, floor, holes, notes)


STEEP = 45.0
"""Gravity is looked for around the image's own downwards; so many degrees off, it is doubtful."""


def _notes(holes: float, lowest: float, down: Array, place: str | None) -> Iterator[Problem]:
    tilt = math.degrees(math.acos(min(1.0, float(down[1]))))
    if tilt > STEEP:
        message = (
            f"gravity is found {tilt:.0f}° off the image's own downwards, too far to be sure: was"
            " the camera held upright?"
        )
        yield Problem(message, place, severity=Severity.WARNING)
    if holes:
        message = f"{holes:.1%} of its pixels have no depth: taken from the farther side of the row"
        yield Problem(message, place, severity=Severity.WARNING)
    if lowest > -LOWEST:
        message = (
            f"no floor is seen, the lowest point is {max(0.0, -lowest):.2f} m under the camera:"
            f" heights are above a floor {CAMERA_HEIGHT} m under it"
        )
        yield Problem(message, place, severity=Severity.WARNING)


# Surfaces ---------------------------------------------------------------------------------------


def normals(depth: Array, known: Array, camera: Camera, reach: int) -> Array:
    """The direction of the surface at each pixel, 3 × H × W, away from the camera; NaN for none.

    1 / depth is linear over the image of a plane: for n · point = 1, it is n · ray. It is fitted by
    least squares to the known pixels of the square of 2·reach + 1 around each.
    """
    height, width = depth.shape
    weight = known.astype(float)
    inverse = np.divide(1.0, depth, out=np.zeros(depth.shape), where=known)
    u = np.arange(width) - (width - 1) / 2
    v = (np.arange(height) - (height - 1) / 2)[:, np.newaxis]

    def total(values: Array) -> Array:
        return _box(weight * values, reach)

    count = np.maximum(total(np.ones(depth.shape)), 1)
    mean_u, mean_v, mean_d = (
        total(u + 0 * v) / count,
        total(v + 0 * u) / count,
        total(inverse) / count,
    )
    uu = total(u * u + 0 * v) / count - mean_u**2
    vv = total(v * v + 0 * u) / count - mean_v**2
    uv = total(u * v) / count - mean_u * mean_v
    ud = total(u * inverse) / count - mean_u * mean_d
    vd = total(v * inverse) / count - mean_v * mean_d
    determinant = uu * vv - uv**2
    # Two pixels apart in both directions are spread by 1/4 in each: less is a line, not a surface.
    flat = determinant > 1e-3
    safe = np.where(flat, determinant, 1)
    slope_u, slope_v = (ud * vv - vd * uv) / safe, (vd * uu - ud * uv) / safe
    level = mean_d + slope_u * (u - mean_u) + slope_v * (v - mean_v)
    x, y = slope_u * camera.fx, slope_v * camera.fy
    rays = camera.rays(depth.shape)
    found = np.stack([x, y, level - x * rays[0] - y * rays[1]])
    length = np.linalg.norm(found, axis=0)
    # n · point = 1 means that n points away from the camera, unless noise has turned it round.
    sign = np.where((found * rays).sum(axis=0) < 0, -1.0, 1.0)
    valid = flat & (length > 0)
    scaled: Array = np.where(valid, found * sign / np.where(valid, length, 1), np.nan)
    return scaled


def _box(values: Array, reach: int) -> Array:
    """The sum over the square of 2·reach + 1 pixels around each; there is nothing outside."""
    for axis in (0, 1):
        size = values.shape[axis]
        sums = np.concatenate(
            [np.zeros_like(values.take([0], axis)), values.cumsum(axis=axis)], axis=axis
        )
        after = np.minimum(np.arange(size) + reach + 1, size)
        before = np.maximum(np.arange(size) - reach, 0)
        values = sums.take(after, axis) - sums.take(before, axis)
    return values


_INERTIA = 1e-6


def gravity(surfaces: Array) -> Array:
    """The direction downwards, of length 1, from the directions of surfaces, 3 × N.

    It is across walls and along the directions of floors: the eigenvector of the least eigenvalue
    of Σ w wᵀ − Σ f fᵀ, over the surfaces f within an angle of the direction of the round before,
    and w within it of its plane. The first direction is the image's own (Gupta, Arbeláez and Malik
    2013, section 3.1).
    """
    down = np.array([0.0, 1.0, 0.0])
    for threshold, times in ROUNDS:
        angle = math.radians(threshold)
        for _ in range(times):
            along = np.abs(down @ surfaces)
            floors, walls = (
                surfaces[:, along > math.cos(angle)],
                surfaces[:, along < math.sin(angle)],
            )
            if not floors.size and not walls.size:
                return down
            # A wall alone leaves a whole plane of directions: then the last one's share decides.
            last = _INERTIA * surfaces.shape[1] * np.outer(down, down)
            _, vectors = np.linalg.eigh(walls @ walls.T - floors @ floors.T - last)
            found = vectors[:, 0]
            down = found if found @ down >= 0 else -found
    return down


def sources(depth: Array, known: Array) -> Array:
    """From which pixel each takes its depth, H×W indices into the image's pixels in a row.

    A known pixel is its own; a hole's is the farther of the known ones next to it in its row, and a
    row without any is as the nearest row with one.
    """
    height, width = depth.shape
    columns = np.arange(width)
    left = np.maximum.accumulate(np.where(known, columns, -1), axis=1)
    right = np.minimum.accumulate(np.where(known, columns, width)[:, ::-1], axis=1)[:, ::-1]
    at_left, at_right = np.maximum(left, 0), np.minimum(right, width - 1)
    low = np.where(left >= 0, np.take_along_axis(depth, at_left, 1), 0)
    high = np.where(right < width, np.take_along_axis(depth, at_right, 1), 0)
    columns = np.where(known, columns, np.where(high > low, at_right, at_left))
    rows = np.arange(height)
    full = np.flatnonzero(known.any(axis=1))
    nearest = full[np.abs(rows[:, np.newaxis] - full).argmin(axis=1)]
    indices: Array = nearest[:, np.newaxis] * width + columns[nearest]
    return indices


# Files ------------------------------------------------------------------------------------------

UNITS = {"m": 1.0, "mm": 0.001}


def in_metres(depth: Array, whole: bool, unit: str | None, place: str | None = None) -> Array:
    """A depth map in metres.

    Whole numbers are millimetres and others metres, if `unit` (m or mm) does not say it. Raises
    DataError if the median is no depth of a room then.
    """
    chosen = unit or ("mm" if whole else "m")
    metres: Array = depth.astype(np.float64) * UNITS[chosen]
    known = metres[np.isfinite(metres) & (metres > 0)]
    if known.size and not PLAUSIBLE[0] <= float(np.median(known)) <= PLAUSIBLE[1]:
        message = (
            f"half of its depths are under {np.median(known):.3g} m if they are in {chosen}:"
            " say the unit with --unit m or --unit mm, or convert it"
        )
        raise DataError(Problem(message, place))
    return metres


def encode_file(path: Path, camera: Camera | None = None, unit: str | None = None) -> Hha:
    """The HHA of a depth map's file: PNG or TIFF of 16 bits in millimetres, TIFF or .npy of floats
    in metres. The camera is NYUDv2's by default. Raises DataError."""
    place = str(path)
    depth, whole = read_depth_map(path)
    try:
        chosen = camera or Camera.of_nyud((depth.shape[0], depth.shape[1]))
    except DataError as error:
        raise DataError(*(Problem(each.message, place) for each in error.problems)) from error
    return encode(in_metres(depth, whole, unit, place), chosen, place)


def companion(
    camera: Camera | None = None, unit: str | None = None
) -> Callable[[ImageSource], tuple[Array, tuple[Problem, ...]]]:
    """How `segment` reads the HHA of a scene from its depth map's file: the image, and warnings."""

    def read(source: ImageSource) -> tuple[Array, tuple[Problem, ...]]:
        try:
            found = encode_file(source.path, camera, unit)
        except DataError as error:
            raise ImageError(*error.problems) from error
        return found.image, found.notes

    return read


DEPTHS = (".png", ".tif", ".tiff", ".npy")


@dataclass(frozen=True)
class Outcome:
    """A depth map that is done, or not: its PNG, its HHA if there is one, what is to be said."""

    path: Path
    found: Hha | None
    problems: tuple[Problem, ...]


def encode_folder(
    folder: Path,
    output: Path,
    camera: Camera | None = None,
    unit: str | None = None,
    *,
    force: bool = False,
) -> Iterator[Outcome]:
    """Write the HHA of each depth map in a folder and below it into another, under its name.

    A depth map that cannot be encoded gives a problem, and the rest go on. Raises DataError, before
    anything is written, if there is no depth map, or a PNG is there that `force` does not let be
    overwritten.
    """
    if not folder.is_dir():
        raise DataError(Problem("there is no such folder", str(folder)))
    if output.resolve() == folder.resolve():
        raise DataError(Problem("the depth maps are here: choose another for -o", str(output)))
    files = by_name(folder, DEPTHS)
    if not files:
        raise DataError(Problem("there are no depth maps, .png, .tif or .npy", str(folder)))
    there = [path for name in files if (path := output / f"{name}.png").exists() and not force]
    if there:
        raise DataError(*(Problem("it exists; --force overwrites it", str(each)) for each in there))
    for name, path in files.items():
        target = output / f"{name}.png"
        try:
            found = encode_file(path, camera, unit)
        except DataError as error:
            yield Outcome(target, None, error.problems)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            Image.fromarray(found.image).save(temporary, "PNG")
        yield Outcome(target, found, found.notes)
