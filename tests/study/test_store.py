"""Cells come back exactly as they were stored, or not at all."""

import errno
import json
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaeaudit.core.errors import ArgumentError, StoreError
from vaeaudit.study.atomic import remove_leftovers, write_bytes
from vaeaudit.study.frames import decode, encode
from vaeaudit.study.store import CellStore, cell_hashes
from vaeaudit.study.study import Cell, CellResult, Study

DIGEST = "d" * 64
floats = st.floats(allow_nan=True, allow_infinity=True, width=64)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)


def a_study(**changes):
    fields = {
        "name": "s", "title": "", "question": "", "presets": {}, "plan": lambda s: [],
        "compute": lambda c, r: CellResult(), "page": lambda s, r: None, "summary": lambda s, r: None,
    }  # fmt: skip
    return Study(**{**fields, **changes})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(floats, texts, st.booleans(), st.integers(-(2**63), 2**63 - 1)), max_size=6))
def test_frames_come_back_bit_for_bit(rows):
    frame = pd.DataFrame(
        {
            "x": np.array([r[0] for r in rows], np.float64),
            "t": pd.Series([r[1] for r in rows], dtype=object),
            "b": np.array([r[2] for r in rows], bool),
            "i": np.array([r[3] for r in rows], np.int64),
        }
    )
    back = decode(*encode(frame))
    nan = np.isnan(frame["x"].to_numpy())
    assert (np.isnan(back["x"].to_numpy()) == nan).all()
    np.testing.assert_array_equal(
        frame["x"].to_numpy()[~nan].view(np.uint64), back["x"].to_numpy()[~nan].view(np.uint64)
    )
    assert back["b"].dtype == bool or not rows
    assert back["i"].dtype == np.int64
    assert list(back["i"]) == list(frame["i"])
    assert list(back["b"]) == list(frame["b"])
    assert list(back["t"]) == list(frame["t"]) or not rows


@settings(max_examples=40, deadline=None)
@given(st.lists(texts, min_size=1, max_size=5))
def test_a_single_text_column_comes_back(words):
    back = decode(*encode(pd.DataFrame({"t": pd.Series(words, dtype=object)})))
    assert list(back["t"]) == words


def test_float32_counts_and_missing_text_have_one_stored_form():
    frame = pd.DataFrame(
        {
            "f": np.array([0.1, 0.2], np.float32),
            "n": pd.array([3, None], dtype="Int64"),
            "t": ["nan", None],
            "empty": [None, None],
            "mixed": [1, None],
        }
    )
    once = decode(*encode(frame))
    twice = decode(*encode(once))
    pd.testing.assert_frame_equal(once, twice)
    assert once["f"][0] == float(np.float32(0.1))
    assert once["n"].dtype == "Int64"
    assert list(once["t"]) == ["nan", ""]
    assert once["empty"].isna().all()


def test_a_named_index_becomes_columns_and_others_are_refused():
    frame = pd.DataFrame({"x": [1.0, 2.0]}, index=pd.Index(["a", "b"], name="model"))
    assert list(decode(*encode(frame)).columns) == ["model", "x"]
    with pytest.raises(ArgumentError, match="reset_index"):
        encode(pd.DataFrame({"x": [1.0]}, index=["a"]))
    with pytest.raises(ArgumentError, match="different texts"):
        encode(pd.DataFrame([[1.0, 2.0]], columns=["x", "x"]))
    with pytest.raises(ArgumentError, match="arrays"):
        encode(pd.DataFrame({"x": [np.zeros(2)]}))


def test_a_cell_comes_back_and_its_bytes_repeat(tmp_path):
    result = CellResult(
        frames={"t": pd.DataFrame({"x": [0.1, np.inf, np.nan], "note": ["", "a,b\n", 'q"']})},
        arrays={"file": np.arange(3.0, dtype=np.float32), "names": np.array(["a", "é"])},
        record={"n": np.int64(3), "values": (1.5, float("nan")), "nested": {"k": None}},
    )
    store = CellStore(tmp_path)
    for name in ("one", "two"):
        store.save(name, DIGEST, result, seconds=1.5, environment={"python": "3"})
    stored = store.load("one", DIGEST)
    assert stored.seconds == 1.5
    pd.testing.assert_frame_equal(
        stored.result.frames["t"], result.frames["t"].assign(note=["", "a,b\n", 'q"'])
    )
    np.testing.assert_array_equal(stored.result.arrays["file"], result.arrays["file"])
    assert stored.result.arrays["file"].dtype == np.float32
    assert list(stored.result.arrays["names"]) == ["a", "é"]
    assert stored.result.record["n"] == 3
    assert stored.result.record["values"][0] == 1.5
    for name in ("t.csv", "arrays.npz", "record.json"):
        one, two = (store.path(key, DIGEST) / name for key in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("name", ["t.csv", "arrays.npz", "record.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "remove"])
def test_damage_to_any_file_is_noticed(tmp_path, name, damage):
    store = CellStore(tmp_path)
    store.save("c", DIGEST, CellResult({"t": pd.DataFrame({"x": [1.0]})}, {"a": np.ones(4)}, {"k": 1}))
    path = store.path("c", DIGEST) / name
    content = path.read_bytes()
    if damage == "flip":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif damage == "cut":
        path.write_bytes(content[:-2])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    if damage == "remove" and name == "manifest.json":
        assert store.load("c", DIGEST) is None
    else:
        with pytest.raises(StoreError):
            store.load("c", DIGEST)


def test_what_cannot_be_stored_exactly_is_refused(tmp_path):
    store = CellStore(tmp_path)
    with pytest.raises(ArgumentError, match="pickle"):
        store.save("c", DIGEST, CellResult(arrays={"a": np.array([object()])}))
    with pytest.raises(ArgumentError, match="JSON"):
        store.save("c", DIGEST, CellResult(record={"a": object()}))
    with pytest.raises(ArgumentError, match="file name"):
        store.save("c", DIGEST, CellResult(frames={"../x": pd.DataFrame({"x": [1.0]})}))
    assert not store.has("c", DIGEST)


def test_hashes_follow_everything_a_cell_depends_on():
    base = [Cell("a", {"lr": 0.1}), Cell("b", {"n": 1}, needs=["a"])]
    reference = cell_hashes(a_study(), base)
    assert cell_hashes(a_study(), [Cell("a", {"lr": 0.1}), Cell("b", {"n": 1}, needs=("a",))]) == reference
    changed = cell_hashes(a_study(), [Cell("a", {"lr": 0.2}), base[1]])
    assert changed["a"] != reference["a"]
    assert changed["b"] != reference["b"], "a cell's hash must follow the cells it needs"
    for other in (a_study(name="t"), a_study(version=2)):
        assert not set(cell_hashes(other, base).values()) & set(reference.values())
    reordered = cell_hashes(a_study(), [Cell("a", {"y": 1, "x": 2})])
    assert reordered == cell_hashes(a_study(), [Cell("a", {"x": 2, "y": 1})])


def test_bad_plans_are_refused():
    with pytest.raises(ArgumentError, match="two cells"):
        cell_hashes(a_study(), [Cell("a", {}), Cell("a", {})])
    with pytest.raises(ArgumentError, match="no earlier cell"):
        cell_hashes(a_study(), [Cell("b", {}, needs=["a"]), Cell("a", {})])
    with pytest.raises(ArgumentError, match="JSON"):
        cell_hashes(a_study(), [Cell("a", {"f": print})])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_names_the_cause_and_leaves_the_old_file(tmp_path, monkeypatch, code, call):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fail(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StoreError, match="kept") as caught:
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert str(path) in str(caught.value)
    if code == errno.ENOSPC:
        assert "no space left" in str(caught.value)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / ".tmp-abc").write_bytes(b"half")
    (tmp_path / "keep.csv").write_text("x")
    (tmp_path / ".lock").write_text("x")
    (tmp_path / ".tmp-xyz").write_text("x")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "cells", "keep.csv"]
    assert not (tmp_path / "cells" / ".tmp-abc").exists()
    assert (tmp_path / "keep.csv").exists()


def test_the_manifest_is_json_with_the_hash_of_every_file(tmp_path):
    store = CellStore(tmp_path)
    store.save("a b/c", DIGEST, CellResult({"t": pd.DataFrame({"x": [1.0]})}))
    folder = store.path("a b/c", DIGEST)
    assert folder.parent == tmp_path
    sealed = json.loads((folder / "manifest.json").read_text())
    assert set(sealed["manifest"]["sha256"]) == {"t.csv", "record.json"}
