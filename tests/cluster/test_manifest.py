"""What is recorded of images, and when it is on disk."""

import pyarrow as pa
import pyarrow.dataset as pd
import pytest

from fcnproto.cluster import manifest as manifests
from fcnproto.cluster.manifest import NAME, SCHEMA, Manifest
from fcnproto.cluster.places import Folder, Place
from fcnproto.errors import FcnprotoError


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    place = str(tmp_path / "out") if request.param == "local" else f"memory://{tmp_path.name}"
    folder = Folder(Place.of(place))
    folder.prepare()
    return folder


def rows(*images, error=None):
    shares = {"score": {"cat": 0.25, "dog": 0.75}}
    found = [{"image": name, "shares": shares, "error": error} for name in images]
    return pa.Table.from_pylist(found, SCHEMA)


def begun(folder, run="this", resume=False):
    manifest = Manifest(folder, run)
    manifest.prepare(resume)
    return manifest


def test_rows_are_recorded_and_found(folder):
    manifest = begun(folder)
    manifest.add(rows("a", "b"))
    manifest.add(rows("c", error="broken"))
    manifest.write()
    manifest.write()
    again = begun(folder, resume=True)
    assert sorted(again.images()) == [("a", False), ("b", False), ("c", True)]


def test_others_can_read_it(tmp_path):
    folder = Folder(Place.of(str(tmp_path)))
    folder.prepare()
    manifest = begun(folder)
    manifest.add(rows("a"))
    manifest.write()
    (row,) = pd.dataset(tmp_path / NAME).to_table().to_pylist(maps_as_pydicts="strict")
    assert row["shares"] == {"score": {"cat": 0.25, "dog": 0.75}}
    assert row["error"] is None and row["image"] == "a"


def test_an_earlier_run_is_not_mixed_with_another(folder):
    manifest = begun(folder)
    manifest.add(rows("a"))
    manifest.write()
    with pytest.raises(FcnprotoError, match="--resume goes on with it"):
        begun(folder)
    with pytest.raises(FcnprotoError, match="another model"):
        begun(folder, run="that", resume=True)


def test_a_run_that_is_killed_loses_little(folder, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(manifests.time, "monotonic", lambda: now[0])
    manifest = Manifest(folder, "run", _start=1000.0)
    manifest.prepare(False)
    manifest.add(rows("first"))
    assert [name for name, _ in manifest.images()] == ["first"]
    now[0] += 0.5
    manifest.add(rows("second"))
    assert len(list(manifest.images())) == 1
    now[0] += 0.6
    manifest.add(rows("third"))
    assert len(list(manifest.images())) == 3
    now[0] += 10_000  # an hour and more: a hundredth of it may wait
    manifest.add(rows("fourth"))
    now[0] += 90
    manifest.add(rows("fifth"))
    assert len(list(manifest.images())) == 4
    now[0] += 20
    manifest.add(rows("sixth"))
    assert len(list(manifest.images())) == 6
