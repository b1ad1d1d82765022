import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import vaeaudit
from vaeaudit.report import collect_provenance
from vaeaudit.report.prepare import flatten
from vaeaudit.report.provenance import git_commit


def test_it_holds_what_a_repetition_needs_and_no_place():
    data = SimpleNamespace(
        name="digits", form="binary", sha256="ab" * 32, source="scikit-learn", train=[1, 2]
    )
    record = collect_provenance(
        command="vaeaudit run objectives", seeds=[0, 1], data=data, durations={"training": 12.34}
    )
    text = json.dumps(record)
    assert record["vaeaudit"] == vaeaudit.__version__
    assert record["versions"]["numpy"] == version("numpy")
    assert record["data"] == {
        "name": "digits",
        "form": "binary",
        "sha256": "ab" * 32,
        "source": "scikit-learn",
    }
    assert record["durations"] == {"training": "12.3 s"}
    assert record["seeds"] == [0, 1]
    assert "CPU" in record["device"] or "×" in record["device"]
    assert platform.node() not in text
    assert str(Path.home()) not in text
    assert str(Path(vaeaudit.__file__).parent) not in text
    assert "date" not in record  # the same run gives the same bytes


def test_several_data_sets_are_told_apart():
    record = collect_provenance(
        data=[{"name": "digits", "form": f, "sha256": "0"} for f in ("binary", "grey")]
    )
    assert record["data"] == {"digits binary": {"sha256": "0"}, "digits grey": {"sha256": "0"}}


def test_the_commit_is_that_of_the_checkout_and_says_if_files_changed(tmp_path):
    def git(*arguments):
        subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *arguments],
            check=True,
            capture_output=True,
        )

    assert git_commit(tmp_path) is None
    git("init")
    (tmp_path / "vaeaudit").mkdir()
    (tmp_path / "studies").mkdir()
    file = tmp_path / "vaeaudit" / "x.py"
    file.write_text("1")
    (tmp_path / "studies" / "y.py").write_text("1")
    git("add", "-A")
    git("commit", "-m", "first")
    clean = git_commit(tmp_path)
    assert len(clean) == 40
    file.write_text("2")
    assert git_commit(tmp_path) == f"{clean}, modified"


def test_nested_records_become_lines():
    assert flatten({"a": {"b": 1.5, "c": [1, 2]}, "d": None}) == [("a", "b 1.5; c 1, 2"), ("d", "none")]
    assert flatten({"a": {"x": "f" * 64, "n": 1}}) == [("a · x", "f" * 64), ("a · n", "1")]
    assert flatten({"runs": [{"n": 1}, {"n": 2}]}) == [("runs 1", "n 1"), ("runs 2", "n 2")]
    assert flatten({}) == []
