"""Lists and tables as people read them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fcnproto.words import columns, counted, quoted, some


def test_a_list_ends_in_how_many_more_there_are() -> None:
    assert some([1, 2, 3], 3) == "1, 2, 3"
    assert some(quoted("abcde"), 2) == "'a', 'b' and 3 more"
    assert some([]) == ""


def test_one_thing_is_no_several() -> None:
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]


def test_numbers_end_below_each_other_and_a_rule_is_as_wide_as_its_column() -> None:
    rows = [("class", "pixels"), ("sky", "7"), ("background", "1234567")]
    assert columns(rows, right={1}, rule=True) == [
        "class        pixels",
        "──────────  ───────",
        "sky               7",
        "background  1234567",
    ]
    assert columns([]) == []


@given(
    st.integers(1, 4).flatmap(
        lambda count: st.lists(
            st.lists(st.text("ab×", min_size=1, max_size=5), min_size=count, max_size=count),
            min_size=1,
        )
    )
)
def test_every_cell_starts_where_its_column_does(rows: list[list[str]]) -> None:
    starts = [0]
    for column in zip(*rows, strict=True):
        starts.append(starts[-1] + max(map(len, column)) + 2)
    for row, line in zip(rows, columns(rows), strict=True):
        for cell, start in zip(row, starts, strict=False):
            assert line[start : start + len(cell)] == cell
