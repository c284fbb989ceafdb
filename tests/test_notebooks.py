"""The notebooks of the docs run from top to bottom, and are kept without what they showed."""

import re

import nbformat
import pytest
from nbclient import NotebookClient
from paths import ROOT

NOTEBOOKS = ROOT / "docs" / "notebooks"
NAMES = ("from-weights-to-a-label-map", "your-own-classes")


def read(name):
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def executed(name, folder, monkeypatch):
    """What each cell of code shows, by the kind of data; printed text is text/plain."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # small nets; two threads wait for each other
    notebook = read(name)
    settings = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=settings).execute()
    return [
        output.get("data", {"text/plain": output.get("text", "")})
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    ]


def test_all_are_run():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_not_kept(name):
    for cell in read(name).cells:
        assert not cell.get("outputs") and not cell.get("execution_count")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Jupyter's own
def test_from_weights_to_a_label_map(tmp_path, monkeypatch):
    shown = executed("from-weights-to-a-label-map", tmp_path, monkeypatch)
    assert sum("image/png" in each for each in shown) == 2  # the image and its overlay
    text = "\n".join(each.get("text/plain", "") for each in shown)
    assert "(150, 200) uint8 (5, 150, 200)" in text
    for name in ("disc", "bar", "triangle", "ring"):
        assert re.search(rf"^{name} +[1-9]", text, re.M), text
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"shapes.onnx", "drawn.png", "drawn.overlay.jpg"}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Jupyter's own
def test_your_own_classes(tmp_path, monkeypatch):
    shown = executed("your-own-classes", tmp_path, monkeypatch)
    text = "\n".join(each.get("text/plain", "") for each in shown)
    assert "80 iterations" in text
    (mean_iu,) = re.findall(r"^mean IU ([\d.]+)%$", text, re.M)
    assert float(mean_iu) > 70, text
    assert (tmp_path / "ours.onnx").is_file()
