"""tables.py: everything that is wrong with a file is said at once."""

import pytest

from fcnproto.errors import ZooError
from fcnproto.zoo.toml_table import Table


def load(tmp_path, text):
    path = tmp_path / "x.toml"
    path.write_text(text, encoding="utf-8")
    return Table.load(path)


def test_values_are_taken_by_kind(tmp_path):
    table = load(
        tmp_path,
        'a = "x"\nb = 2\nc = 1\nd = true\ne = ["x", "y"]\nf = [1, 2]\ng = [1, 2.5]\nh = { i = 3 }\n'
        "j = [[1, 2, 255]]\n[[k]]\nl = 1\n",
    )
    assert table.text("a") == "x"
    assert table.integer("b") == 2
    assert table.number("c") == 1.0
    assert table.switch("d", False) is True
    assert table.texts("e") == ("x", "y")
    assert table.integers("f") == (1, 2)
    assert table.numbers("g") == (1.0, 2.5)
    assert table.table("h").integer("i") == 3
    assert table.colours("j") == ((1, 2, 255),)
    assert [part.integer("l") for part in table.tables("k")] == [1]
    table.finish()


def test_defaults_stand_for_what_is_not_there(tmp_path):
    table = load(tmp_path, "")
    assert table.text("a", "x") == "x"
    assert table.integer("b", 2) == 2
    assert table.switch("c", True) is True
    assert table.texts("d") == ()
    assert list(table.table("e", required=False)) == []
    table.finish()


def test_all_problems_come_at_once_with_the_file(tmp_path):
    table = load(tmp_path, 'a = 1\nb = -1\nc = "many"\nd = true\nmore = 1\n[h]\ni = "x"\n')
    table.text("a")
    table.integer("b")
    table.choice("c", ("one", "two"))
    table.integer("d")
    table.text("missing")
    table.table("h").number("i")
    with pytest.raises(ZooError) as caught:
        table.finish()
    path = tmp_path / "x.toml"
    assert str(caught.value).splitlines() == [
        f"{path}: error: 'a' must be text, found 1",
        f"{path}: error: 'b' must not be negative, found -1",
        f"{path}: error: 'c' must be one of one, two, found 'many'",
        f"{path}: error: 'd' must be a whole number, found True",
        f"{path}: error: 'missing' is missing",
        f"{path}: error: unknown key 'more'",
        f"{path}: error: h: 'i' must be a number, found 'x'",
    ]


@pytest.mark.parametrize("text", ["a = ", "a = 1\na = 2\n"])
def test_what_is_not_toml_is_refused(tmp_path, text):
    with pytest.raises(ZooError, match=r"x\.toml: error: cannot be read: ."):
        load(tmp_path, text)


def test_what_is_not_text_is_refused(tmp_path):
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ZooError, match="cannot be read"):
        Table.load(path)


@pytest.mark.parametrize("colour", ["[1, 2]", "[1, 2, 256]", '["a", 1, 2]', "[true, 1, 2]"])
def test_colours_are_three_bytes(tmp_path, colour):
    table = load(tmp_path, f"a = [{colour}]")
    assert table.colours("a") == ()
    with pytest.raises(ZooError, match="red, green, blue"):
        table.finish()
