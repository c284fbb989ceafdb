"""Windows: what lies in them is kept, and no seam is seen."""

import numpy as np
import pytest

from fcnproto.crf.presets import preset
from fcnproto.crf.windows import in_windows
from fcnproto.datasets import generated


def test_each_window_is_seen_with_its_surroundings():
    scores = np.random.default_rng(0).random((2, 50, 70), np.float32)
    seen = []

    def refine(part, window):
        seen.append(tuple((each.start, each.stop) for each in window))
        return part * 2

    np.testing.assert_array_equal(in_windows(scores, refine, 30, 5), scores * 2)
    assert seen == [
        (rows, columns) for rows in ((0, 35), (25, 50)) for columns in ((0, 35), (25, 65), (55, 70))
    ]


def test_an_image_that_fits_is_seen_whole():
    scores = np.zeros((2, 40, 40), np.float32)
    windows = []
    in_windows(scores, lambda part, window: windows.append(window) or part, 30, 5)
    assert windows == [(slice(0, 40), slice(0, 40))]


@pytest.mark.slow
def test_no_seam_is_seen():
    """Nine drawn images side by side: labels of windows are those of the whole but for few."""
    reader = generated("shapes", "val")
    rng = np.random.default_rng(0)
    rows = []
    for row in range(3):
        images = [(reader.picture("data", n), reader.label("label", n)) for n in range(row, 9, 3)]
        side = 112
        rows.append([np.hstack([each[i][:side, :side] for each in images]) for i in (0, 1)])
    image, labels = (np.vstack([row[i] for row in rows]) for i in (0, 1))
    truth = np.eye(5, dtype=np.float32)[labels].transpose(2, 0, 1)
    scores = 3 * truth + rng.standard_normal(truth.shape).astype(np.float32) * 2
    crf = preset("deconvnet")

    def refine(part, window):
        return crf.refine(part, image[window], (window[0].start, window[1].start))

    whole = crf.refine(scores, image).argmax(0)
    cut = in_windows(scores, refine, 2 * crf.reach, crf.reach).argmax(0)
    assert (labels != scores.argmax(0)).mean() > 0.1
    assert (whole != cut).mean() < 0.001
    seams = np.arange(2 * crf.reach, 336, 2 * crf.reach)
    assert seams.size
    near = (whole != cut)[:, [x for seam in seams for x in (seam - 1, seam)]]
    assert near.mean() < 0.005
