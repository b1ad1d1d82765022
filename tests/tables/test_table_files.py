import os

import numpy as np
import pandas as pd
import pytest

from vaeaudit.core.errors import ArgumentError, StoreError
from vaeaudit.tables import csv_text, write_csv, write_parquet
from vaeaudit.tables.files import write_bytes

FRAME = pd.DataFrame(
    {
        "name": ["a,b", 'say "x"', "é"],
        "x": [0.1 + 0.2, np.nan, 1e-300],
        "n": pd.array([1, None, 3], dtype="Int64"),
    }
)


def test_csv_reads_back_exactly_and_has_line_feeds_only(tmp_path):
    path = write_csv(FRAME, tmp_path / "deep" / "table.csv")
    assert b"\r" not in path.read_bytes()
    back = pd.read_csv(path, dtype={"n": "Int64"})
    pd.testing.assert_frame_equal(back, FRAME, check_dtype=False, check_exact=True)


def test_csv_bytes_depend_on_content_alone():
    assert csv_text(FRAME) == csv_text(FRAME.set_index(pd.Index([7, 8, 9])))


def test_a_repeated_column_is_refused():
    with pytest.raises(ArgumentError, match="rate occurs more than once"):
        csv_text(pd.DataFrame([[1, 2]], columns=["rate", "rate"]))


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch):
    target = tmp_path / "table.csv"
    write_bytes(target, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="file"):
        write_bytes(tmp_path / "file" / "x.csv", b"")


def test_parquet_reads_back(tmp_path):
    path = write_parquet(FRAME, tmp_path / "table.parquet")
    back = pd.read_parquet(path)
    assert back["x"][0] == 0.1 + 0.2
    assert back["name"].tolist() == FRAME["name"].tolist()
