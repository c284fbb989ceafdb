"""classes.txt as people write it: with numbers, as a table of a spreadsheet, colours first."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcnproto.zoo.legend import LegendClass, read_legend, write_legend

COLOURED = [("background", (0, 0, 0)), ("traffic light", (250, 170, 30)), ("dog", (1, 2, 3))]
PLAIN = [(name, None) for name, _ in COLOURED]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name,r,g,b\nbackground,0,0,0\ntraffic light,250,170,30\ndog,1,2,3\n", COLOURED),
        (
            "Class;Red;Green;Blue\nbackground;0;0;0\ntraffic light; 250;170;30\ndog;1;2;3",
            COLOURED,
        ),
        ("0 0 0\tbackground\n250 170 30\t traffic light\n1 2 3\tdog\n", COLOURED),
        ("0: background\n1: traffic light\n2: dog\n", PLAIN),
        ("0,background\n1,traffic light\n2,dog\n", PLAIN),
        ("0 background 0 0 0\n1 traffic light 250 170 30\n2 dog 1 2 3\n", COLOURED),
        ("0 background\n1 traffic light\n2 dog\n255 unlabeled\n", [*PLAIN, ("void", None)]),
        ("0 - background\n1 - traffic light\n2 - dog\n", PLAIN),
        ("id,name\n0,background\n1,traffic light\n2,dog\n", PLAIN),
        (
            "class_id,name,r,g,b\n0,background,0,0,0\n1,traffic light,250,170,30\n2,dog,1,2,3\n",
            COLOURED,
        ),
        ("Label Name\tColor\nbackground #000000\ntraffic light #faaa1e\ndog #010203\n", COLOURED),
        ("background: 0 0 0\ntraffic light:250,170,30\ndog = 1 2 3\n", COLOURED),
        ("label red\nclass\n", [("label red", None), ("class", None)]),
        ("0 m\n1 m\n", [("0 m", None), ("1 m", None)]),
        ("0.5 m\n1.0 km\n", [("0.5 m", None), ("1.0 km", None)]),
        ("0:30\n1:30\n", [("0:30", None), ("1:30", None)]),
        ("1 euro\n2 euro\n", [("1 euro", None), ("2 euro", None)]),
        ("0 euro\n5 euro\n", [("0 euro", None), ("5 euro", None)]),
    ],
)
def test_what_people_write(tmp_path: Path, text: str, expected: list[object]) -> None:
    (tmp_path / "classes.txt").write_text(text)
    assert read_legend(tmp_path / "classes.txt") == tuple(LegendClass(*each) for each in expected)


def test_many_blanks_take_no_time(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("a" + " " * 100_000 + "b")
    start = time.process_time()
    assert len(read_legend(tmp_path / "classes.txt")) == 1
    assert time.process_time() - start < 2


NAMES = st.text("abc ()-/é", min_size=1).map(str.strip).filter(bool)
COLOURS = st.none() | st.tuples(*[st.integers(0, 255)] * 3)


@given(st.dictionaries(NAMES, COLOURS, min_size=1, max_size=5))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, tuple[int, int, int] | None]
) -> None:
    colours = [colour for colour in entries.values() if colour is not None]
    legend = tuple(LegendClass(*each) for each in entries.items())
    if len(set(colours)) == len(colours):
        path = tmp_path_factory.mktemp("legend") / "classes.txt"
        write_legend(path, legend)
        assert read_legend(path) == legend
