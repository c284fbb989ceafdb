"""classes.txt as people write it: with numbers, as a table of a spreadsheet, colours first."""

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
        ("1 euro\n2 euro\n", [("1 euro", None), ("2 euro", None)]),
        ("0 euro\n5 euro\n", [("0 euro", None), ("5 euro", None)]),
    ],
)
def test_what_people_write(tmp_path: Path, text: str, expected: list[object]) -> None:
    (tmp_path / "classes.txt").write_text(text)
    assert read_legend(tmp_path / "classes.txt") == tuple(LegendClass(*each) for each in expected)


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
