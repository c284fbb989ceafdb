"""Images that are none are told in a line, whatever Pillow knows of them."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcnproto.errors import FcnprotoError
from fcnproto.runtime import images
from fcnproto.runtime.outputs import labels_of


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        b"DDS " + (124).to_bytes(4, "little") + b"\1\0\0\0" * 30,
    ],
)
def test_formats_beyond_the_list_are_never_decoded(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(images.ImageError, match="cannot identify"):
        images.read(images.ImageSource(path))


@pytest.mark.parametrize("score", [np.zeros((1, 0, 2, 2)), np.full((1, 3, 2, 2), np.nan)])
def test_scores_that_name_no_class_are_refused(score: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(FcnprotoError, match="scores"):
        labels_of(score)


def test_warnings_stay_unsaid_whatever_threads_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow warns of each image here, and a warning is an error: none is seen, and all after."""
    path = tmp_path / "large.png"
    Image.new("RGB", (12, 12)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ThreadPoolExecutor(8) as pool:
            shapes = pool.map(
                lambda _: images.read(images.ImageSource(path), large=True).shape, range(400)
            )
            assert set(shapes) == {(12, 12, 3)}
        with pytest.raises(UserWarning):
            warnings.warn("it is said again", stacklevel=1)
    with pytest.raises(images.ImageError, match="it has 144 pixels, more than the 100"):
        images.read(images.ImageSource(path))
