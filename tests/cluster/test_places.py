"""Files on any file system: named, read, and written whole."""

import pickle

import fsspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs

from fcnproto.cli import main
from fcnproto.cluster import places
from fcnproto.cluster.places import Folder, Place, PlaceError
from fcnproto.errors import FcnprotoError

NAMES = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters="/"),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in (".", "..") and name.strip() == name)


@settings(deadline=None)
@given(NAMES)
def test_a_name_leads_back(name):
    for root in ("/folder", "file:///folder", "s3://bucket/key?region=us-east-1"):
        place = Place.of(root).child(name)
        again = Place.of(str(place))
        assert (again.full, again.name, str(again)) == (place.full, name, str(place))
        assert pickle.loads(pickle.dumps(place)).full == place.full


def test_the_parts_of_an_object_store_address():
    place = Place.of("s3://bucket/a%20b/c.PNG?region=us-east-1")
    assert (place.full, place.stem, place.suffix) == ("bucket/a b/c.PNG", "c", ".png")
    assert str(place) == "s3://bucket/a%20b/c.PNG?region=us-east-1"
    assert str(place.parent) == "s3://bucket/a%20b?region=us-east-1"
    assert place.local is None
    assert Place.of("s3://bucket/?region=us-east-1").child("x").full == "bucket/x"
    assert Place.of("s3://bucket/a b.png?region=us-east-1").full == "bucket/a b.png"


@pytest.fixture(params=["local", "memory", "arrow"])
def folder(request, tmp_path):
    if request.param == "local":
        return Folder(Place.of(str(tmp_path / "new" / "out")))
    if request.param == "memory":
        return Folder(Place.of(f"memory://{tmp_path.name}/out"))
    system = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    return Folder(Place(system, "out"))


def test_files_are_written_and_read(folder):
    folder.prepare()
    assert list(folder.place.children()) in ([], [(folder.unfinished, True)])
    written = folder.write("a b.png", b"content")
    folder.write("a b.png", b"other")
    assert written.read() == b"other" and written.kind() == "file"
    folder.clean()
    assert [place.name for place, _ in folder.place.children()] == ["a b.png"]


def test_lines_of_any_length(folder):
    folder.prepare()
    content = b"\n".join([b"x" * 3_000_000, b"", b"last"])
    assert list(folder.write("list", content).lines()) == content.split(b"\n")


def test_nothing_is_seen_until_it_is_whole(tmp_path):
    class Full(fs.LocalFileSystem):
        def open_output_stream(self, path):
            stream = super().open_output_stream(path)
            stream.write(b"half")
            stream.close()
            raise OSError(28, "No space left on device")

    system = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    folder = Folder(Place(system, "out"))
    folder.prepare()
    broken = Folder(Place(Full(), str(tmp_path / "out")))
    with pytest.raises(FcnprotoError, match=r"out/a\.png: error: .*No space left"):
        broken.write("a.png", b"content")
    assert not (tmp_path / "out" / "a.png").exists()
    folder.clean()
    assert not list((tmp_path / "out").iterdir())


def test_what_cannot_be_reached_is_said(tmp_path, monkeypatch):
    with pytest.raises(PlaceError, match=r"none\.png: error: cannot be read"):
        Place.of(str(tmp_path / "none.png")).read()
    with pytest.raises(PlaceError, match="cannot be read"):
        Place.of("memory://nothing/there.png").read()
    with pytest.raises(PlaceError, match="cannot be opened"):
        Place.of("s3://")
    large = tmp_path / "large"
    large.write_bytes(b"123")
    monkeypatch.setattr(places, "MOST_BYTES", 2)
    with pytest.raises(PlaceError, match="has more than"):
        Place.of(str(large)).read()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FcnprotoError, match="cannot be written"):
        Folder(Place.of(str(tmp_path / "file"))).prepare()


def test_passwords_are_not_recorded():
    with pytest.raises(PlaceError, match="has a password") as caught:
        Place.of("s3://key:secret@bucket/a.png")
    assert "secret" not in str(caught.value)


def test_errors_of_other_file_systems_are_lines(monkeypatch):
    class OddError(Exception):
        pass

    def fail(*_args, **_settings):
        raise OddError("the other side\nhangs up")

    monkeypatch.setattr(fsspec.filesystem("memory"), "info", fail)
    with pytest.raises(PlaceError, match=r"the other side$"):
        Place.of("memory://a").kind()


def test_results_in_memory_are_refused():
    """Each worker has a memory of its own, in which they would be lost."""
    assert Place.of("memory://many").is_own and not Place.of("many").is_own
    arguments = [
        "segment",
        "a.png",
        "--model",
        "net.onnx",
        "--cluster",
        "auto",
        "-o",
        "memory://many",
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("memory://many: error: lies in the memory of each worker")
