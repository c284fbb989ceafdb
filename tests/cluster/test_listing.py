"""What arguments name: as one machine has it, as a stream, on any file system."""

import glob
import os
from itertools import islice
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import fs

from fcnproto.cluster import listing as listings
from fcnproto.cluster import places
from fcnproto.cluster.listing import Listing, Names, stream
from fcnproto.cluster.places import Place
from fcnproto.runtime import images
from fcnproto.runtime.images import ImageError


def listing(*arguments, base="/", output="/somewhere/else"):
    return Listing(tuple(map(str, arguments)), str(base), Place.of(str(output)))


def named(*arguments, **settings):
    found = list(listing(*arguments, **settings).images())
    assert all(each.error is None for each in found)
    return [each.image for each in found]


def tree(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_a_folder_gives_what_one_machine_takes_of_it(tmp_path):
    folder = tree(tmp_path / "a b#%20", "2.png", "10.JPG", "notes.txt", "below/3.png", ".x.png")
    expected = [str(each.path) for each in images.find([str(folder)])]
    assert named(folder) == expected
    assert named("a b#%20", base=tmp_path) == expected


def test_a_list_and_a_file_and_an_address(tmp_path):
    folder = tree(tmp_path, "a.png", "b.png")
    (folder / "list.txt").write_bytes(
        "\ufeff# these\n a.png \r\n\nfile://".encode() + bytes(folder / "b.png")
    )
    assert named("list.txt", "a.png", base=folder) == [str(folder / n) for n in ("a.png", "b.png")]


def test_file_systems_of_fsspec():
    memory = fsspec.filesystem("memory")
    for name in ("/many/b c.png", "/many/a.png", "/many/below/d.png", "/many/e.txt"):
        memory.pipe(name, b"memory://many/a.png\n")
    assert named("memory://many") == ["memory:///many/a.png", "memory:///many/b c.png"]
    assert named("memory://many/*/*.png") == ["memory:///many/below/d.png"]
    assert named("memory://many/e.txt") == ["memory:///many/a.png"]


def test_the_query_of_an_object_store_belongs_to_each_address(tmp_path, monkeypatch):
    """A glob among it; the store is a folder here."""
    tree(tmp_path, "a b/1.png", "a b/2.png", "a b/notes.txt", "list.txt")
    (tmp_path / "list.txt").write_text("s3://bucket/a%20b/2.png?region=here\n")
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(places, "_at", lambda root: (store, "") if "region=here" in root else None)
    both = [f"s3://bucket/a%20b/{number}.png?region=here" for number in (1, 2)]
    assert named("s3://bucket/a b/*.png?region=here") == both
    assert named("s3://bucket/**/[12].png?region=here") == both
    assert named("s3://bucket/a%20b/?region=here") == both
    assert named("s3://bucket/list.txt?region=here") == both[1:]


NAMES = st.sampled_from(["a", "b", ".c", "a.png", "b.png", "[x].png", "d.jpg"])
PATTERNS = st.lists(
    st.sampled_from(["*", "**", "a", "?", "*.png", "[ab]*", ".*", "[[]x].png", "a*", "b"]),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(NAMES, min_size=1, max_size=3), max_size=8), PATTERNS)
def test_a_glob_is_pythons(tmp_path_factory, paths, parts):
    folder = tmp_path_factory.mktemp("tree")
    for path in paths:
        place = folder.joinpath(*path)
        if not any(each.is_file() for each in place.parents) and not place.exists():
            tree(folder, place)
    pattern = "/".join(parts)
    if not glob.has_magic(pattern):
        return
    found = glob.glob(pattern, root_dir=folder, recursive=True)  # noqa: PTH207
    # `b/**` gives `b/` of a file b: no file, though a Path leaves the slash away.
    expected = {str(folder / name) for name in found if os.path.isfile(f"{folder}/{name}")}  # noqa: PTH113
    place = listing(pattern, base=folder)
    assert {str(each) for each in place._matching(pattern)} == expected


def test_results_of_one_name_are_refused_as_on_one_machine(tmp_path):
    folder = tree(tmp_path, "a.jpg", "a.png", "b.png")
    found = list(listing(folder, output=tmp_path / "out").images())
    assert [Path(each.image).name for each in found if each.error is None] == ["a.jpg", "b.png"]
    (refused,) = [each for each in found if each.error]
    assert (
        refused.error
        == f"its result would be {tmp_path}/out/a.png, which is that of {folder}/a.jpg"
    )


def test_an_image_is_not_replaced_by_its_result(tmp_path):
    folder = tree(tmp_path, "a.png", "b.jpg")
    (folder / "link").symlink_to(folder)
    found = listing(folder / "a.png", folder / "b.jpg", output=folder / "link").images()
    assert [each.error and "the image itself" in each.error for each in found] == [True, None]


def test_results_are_not_taken_for_images(tmp_path):
    folder = tree(tmp_path, "a.png", "out/b.png")
    for argument in (folder, f"{folder}/*.png"):
        with pytest.raises(ImageError, match="choose another -o DIR"):
            listing(argument, output=folder).check()
    assert named(f"{folder}/**/*.png", output=folder / "out") == [str(folder / "a.png")]


def test_all_that_names_nothing_is_said_at_once(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ImageError) as caught:
        listing("none.png", "empty", "*.png", "list.txt", "nosuch://x/y.png", base=tmp_path).check()
    messages = [problem.message for problem in caught.value.problems]
    assert messages[:3] == ["there is no such file", "there are no images", "there are no images"]
    assert "neither an image nor a list" in messages[3]
    assert "cannot be opened" in messages[4] and "nosuch" in messages[4]


def test_a_list_is_never_held(tmp_path):
    file = tmp_path / "list.txt"
    file.write_text("".join(f"{number}.png\n" for number in range(300_000)))
    tables = stream(listing(file, base=tmp_path).images(), 10)
    assert next(tables).column("path").to_pylist()[-1] == str(tmp_path / "9.png")


def test_a_large_folder_is_given_as_it_comes(tmp_path, monkeypatch):
    monkeypatch.setattr(listings, "SORTED", 3)
    tree(tmp_path, *(f"{number}.png" for number in range(10)))
    seen = []

    class Entries:
        def __init__(self, path):
            self.entries = list(scan(path))

        def __enter__(self):
            return (seen.append(entry.name) or entry for entry in self.entries)

        def __exit__(self, *_):
            pass

    scan = os.scandir
    monkeypatch.setattr(os, "scandir", Entries)
    found = listing(tmp_path).images()
    assert len(list(islice(found, 4))) == 4
    assert len(seen) < 10
    assert len(list(found)) == 6


def test_the_last_row_says_how_many(tmp_path):
    tree(tmp_path, "a.jpg", "a.png", "b.png")
    *tables, last = stream(listing(tmp_path).images(), 2)
    assert [table.num_rows for table in tables] == [2, 1]
    assert last.column("listed").to_pylist() == [3]
    assert sum(table.column("error").null_count for table in tables) == 2


def test_names_are_a_map():
    names = Names()
    assert names.add("a", "1") and not names.add("a", "2") and names.add("b")
    assert names.text("a") == "1" and "b" in names and "c" not in names
    assert names.count == 2
