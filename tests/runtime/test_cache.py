"""Compiled models in a folder: what is taken from there, and what is not."""

import json
import os

import pytest

from fcnproto.runtime import cache
from fcnproto.runtime.cache import CachePlace

ABOUT = {"engine": "some", "version": "1", "options": ""}


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"a model")
    return path


@pytest.fixture
def entry(model, tmp_path):
    return CachePlace.of(model, ABOUT, tmp_path / "cache")


def compiled(path):
    path.write_bytes(b"compiled")
    path.with_name("more.bin").write_bytes(b"much")


def test_what_is_written_is_there(entry):
    assert not entry.is_whole()
    assert entry.write(compiled)
    assert entry.is_whole()
    assert entry.path.read_bytes() == b"compiled"
    assert [each.name for each in entry.folder.iterdir()] == [entry.key]  # nothing left over


@pytest.mark.parametrize("change", ["model", "engine", "version", "options"])
def test_what_a_compiled_model_depends_on(change, model, entry, tmp_path):
    entry.write(compiled)
    if change == "model":
        model.write_bytes(b"another model")
    about = ABOUT | ({} if change == "model" else {change: "other"})
    assert not CachePlace.of(model, about, tmp_path / "cache").is_whole()


def halve(place):
    path = place / "more.bin"
    path.write_bytes(path.read_bytes()[:2])


def edit(place):
    (place / "model.onnx").write_bytes(b"cOmpiled")


def lose(place):
    (place / "more.bin").unlink()


def add(place):
    (place / "foreign.bin").write_bytes(b"")


def without_digests(place):
    (place / "digests.json").unlink()


def nonsense(place):
    (place / "digests.json").write_text("[")


def not_a_mapping(place):
    (place / "digests.json").write_text("7")


def of_nothing(place):
    (place / "digests.json").write_text(json.dumps({}))


@pytest.mark.parametrize(
    "spoil", [halve, edit, lose, add, without_digests, nonsense, not_a_mapping, of_nothing]
)
def test_what_is_not_as_it_was_written_is_written_anew(spoil, entry):
    entry.write(compiled)
    spoil(entry.path.parent)
    assert not entry.is_whole()
    assert entry.write(compiled)
    assert entry.is_whole()


def test_an_error_leaves_nothing(entry):
    def fail(path):
        compiled(path)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        entry.write(fail)
    assert list(entry.folder.iterdir()) == []


def test_no_cache_where_its_folder_cannot_be(model, tmp_path):
    (tmp_path / "file").write_text("")
    entry = CachePlace.of(model, ABOUT, tmp_path / "file" / "cache")
    assert not entry.write(compiled)


def test_what_was_not_used_for_long_makes_room(model, tmp_path, monkeypatch):
    entries = [
        CachePlace.of(model, ABOUT | {"version": str(number)}, tmp_path / "cache")
        for number in range(3)
    ]
    for age, entry in zip((300, 100, 200), entries[:3], strict=True):
        entry.write(compiled)
        os.utime(entry.path.parent, (age, age))
    size = sum(file.stat().st_size for file in entries[0].path.parent.iterdir())
    monkeypatch.setattr(cache, "MOST", 2 * size)
    assert entries[1].is_whole()  # now it is used
    last = CachePlace.of(model, ABOUT | {"version": "last"}, tmp_path / "cache")
    last.write(compiled)
    assert [each.is_whole() for each in (*entries, last)] == [False, True, False, True]
