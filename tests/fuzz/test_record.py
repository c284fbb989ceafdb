"""The page says what the runs came to, of every target."""

from __future__ import annotations

from tests.fuzz import record
from tests.fuzz.targets import TARGETS


def test_the_page_has_the_table() -> None:
    assert "\n".join(record.table()) in record.PAGE.read_text("utf-8")


def test_rows_are_those_of_targets() -> None:
    assert {row.target for row in record.rows()} <= set(TARGETS)


def test_inputs_are_summed_up(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(record, "PATH", tmp_path / "record.tsv")
    record.add("a", 100, 100, 1.4, 0)
    record.add("a", 50, 20, 2.4, 1)
    record.add("a", 30, 30, 1.0, 0)
    assert record.rows() == [record.Row("a", 180, 50, 4, 1)]
