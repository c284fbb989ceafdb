"""Problems of one kind in many files are said once."""

from __future__ import annotations

from fcnproto.errors import Problem, Severity, condensed


def masks(count: int) -> list[Problem]:
    return [Problem(f"holds {n} of '{n}.png'", f"data/{n}.png") for n in range(count)]


def test_many_of_a_kind_are_one_that_counts_the_others() -> None:
    other = Problem("is RGB", "data/x.png")
    warning = Problem("holds 1 of 'y'", "data/y.png", severity=Severity.WARNING)
    found = condensed([*masks(5), other, *masks(9)[5:], warning])
    assert found[1:] == [other, warning]
    assert str(found[0]) == (
        "data/0.png: error: holds 0 of '0.png'; so it is in 1.png, 2.png, 3.png and 5 more"
    )


def test_the_names_of_files_make_no_kinds() -> None:
    sizes = [
        Problem(f"is 3×{n}, its image {s}.jpg is a×4", f"{s}.png") for n, s in enumerate("abcd")
    ]
    (found,) = condensed(sizes)
    assert found.message == "is 3×0, its image a.jpg is a×4; so it is in b.png, c.png, d.png"


def test_those_of_one_file_are_counted() -> None:
    """And in other files they are in, too."""
    inside = [Problem(f"annotation {n}: no", "a.json") for n in range(5)]
    (found,) = condensed(inside)
    assert found.message == "annotation 0: no; so it is 4 more times there"
    (found,) = condensed([*inside, Problem("annotation 9: no", "b.json")])
    assert found.message == "annotation 0: no; so it is 4 more times there, and in b.json"


def test_a_few_stand_as_they_are() -> None:
    assert condensed(masks(3)) == masks(3)
    assert len(condensed(masks(4))) == 1
    assert condensed([]) == []


def test_what_lies_at_lines_or_in_layers_is_not_of_one_kind() -> None:
    lines = [Problem("no", "a", line=line) for line in range(9)]
    layers = [Problem("no", "a", layer=f"c{number}") for number in range(9)]
    alone = [Problem("no")] * 9
    assert condensed([*lines, *layers, *alone]) == [*lines, *layers, *alone]
