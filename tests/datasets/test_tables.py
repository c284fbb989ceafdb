"""Rows of HDF5 files, as training reads them."""

import tracemalloc

import h5py
import numpy as np
import pytest

from fcnproto.datasets.tables import Tables
from fcnproto.errors import DataError


def write(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip")
    return path


def test_rows_of_several_files_follow_each_other(tmp_path):
    values = [
        np.arange(start, start + count, dtype=np.float32) for start, count in ((0, 3), (3, 2))
    ]
    files = [
        write(tmp_path / f"{number}.h5", data=each[:, np.newaxis] * 2, label=each)
        for number, each in enumerate(values)
    ]
    tables = Tables(files, ["data", "label"])
    assert len(tables) == 5
    for number in range(5):
        row = tables.row(number)
        assert row["label"] == number and row["data"] == [2 * number]
    assert [tables.place(number) for number in (2, 3)] == [
        f"{files[0]}, row 2",
        f"{files[1]}, row 0",
    ]
    with pytest.raises(IndexError):
        tables.row(5)


def test_data_sets_of_other_lengths(tmp_path):
    path = write(tmp_path / "a.h5", data=np.zeros((3, 1)), label=np.zeros(2))
    with pytest.raises(DataError, match="its data sets differ in rows: 'data' 3, 'label' 2"):
        Tables([path], ["data", "label"])


def test_many_rows_take_no_more_memory_than_their_numbers(tmp_path):
    count = 2**21
    path = write(tmp_path / "a.h5", label=np.zeros(count, np.float32))
    tracemalloc.start()
    assert len(Tables([path], ["label"])) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 4 * count
