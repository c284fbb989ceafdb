"""A room whose depth, heights and angles are known: drawn by where rays meet its surfaces."""

from dataclasses import dataclass

import numpy as np

from fcnproto.datasets.hha import Camera

SIZE = (480, 640)
CAMERA = Camera.of_nyud(SIZE)


@dataclass(frozen=True)
class View:
    """What a camera sees: depth in metres, and of each pixel the truth."""

    depth: np.ndarray
    height: np.ndarray
    """Above the floor, in metres."""
    angle: np.ndarray
    """Of the surface's direction away from the camera with gravity, in degrees."""
    surface: np.ndarray
    """The number of the surface, as SURFACES has them."""
    down: np.ndarray
    """Gravity in camera coordinates."""


SURFACES = ("floor", "ceiling", "back", "left", "right", "top of box", "front of box",
            "side of box", "ramp")  # fmt: skip


def turn(pitch: float, roll: float) -> np.ndarray:
    """From camera to world: the camera looks down by `pitch` degrees, and is rolled."""
    p, r = np.radians([pitch, roll])
    about_x = [[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]]
    about_z = [[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]]
    return np.array(about_x) @ np.array(about_z)


def view(
    pitch: float = 15,
    roll: float = 0,
    above: float = 1.4,
    camera: Camera = CAMERA,
    size: tuple[int, int] = SIZE,
) -> View:
    """A room 4 m wide and 2.7 m high with its back 4 m ahead, with a box and a ramp of 20°."""
    rotation = turn(pitch, roll)
    rays = np.einsum("ij,jhw->ihw", rotation, camera.rays(size))
    slope = np.tan(np.radians(20))
    sine, cosine = np.sin(np.radians(20)), np.cos(np.radians(20))
    box = ((-1.3, -0.4), (above - 0.6, above), (2.2, 3.0))
    inf = (-np.inf, np.inf)
    # Of each: its plane n · p = d, with n away from the camera, and the part of it that is there.
    planes = [
        ((0, 1, 0), above, (inf, inf, inf)),
        ((0, -1, 0), 2.7 - above, (inf, inf, inf)),
        ((0, 0, 1), 4.0, (inf, inf, inf)),
        ((-1, 0, 0), 2.0, (inf, inf, inf)),
        ((1, 0, 0), 2.0, (inf, inf, inf)),
        ((0, 1, 0), above - 0.6, (box[0], inf, box[2])),
        ((0, 0, 1), 2.2, (box[0], box[1], inf)),
        ((-1, 0, 0), 0.4, (inf, box[1], box[2])),
        ((0, cosine, sine), cosine * above + sine * 2.0, ((0.3, 1.5), (above - 0.73, above), inf)),
    ]
    assert abs(slope - sine / cosine) < 1e-12
    depth = np.full(size, np.inf)
    surface = np.full(size, -1)
    for number, (normal, offset, limits) in enumerate(planes):
        along = np.einsum("i,ihw->hw", np.array(normal, float), rays)
        at = np.where(along > 1e-9, offset / np.where(along > 1e-9, along, 1), np.inf)
        at = np.where(at > 0, at, np.inf)
        finite = np.where(np.isfinite(at), at, 0)
        for axis, (low, high) in enumerate(limits):
            place = rays[axis] * finite
            at = np.where((place >= low - 1e-9) & (place <= high + 1e-9), at, np.inf)
        nearer = at < depth
        depth[nearer], surface[nearer] = at[nearer], number
    normals = np.array([plane[0] for plane in planes])
    down = np.array([0.0, 1.0, 0.0])
    angles = np.degrees(np.arccos(normals @ down))
    height = above - rays[1] * depth
    return View(depth, height, angles[surface], surface, rotation.T @ down)
