"""A study of the package, page and all, in two processes: the bytes of one, whatever was killed on the way."""

import json
import signal

import pytest
from runs import begin, begin_team, end, tables

SIZE = {
    "groups": ["linear"], "objectives": ["elbo", "beta(0.1)", "wasserstein_penalty", "iwae(5)"],
    "seeds": [0, 1], "epochs": 5, "num_test": 20, "num_samples": 200, "score_samples": 8,
}  # fmt: skip
OPTIONS = ("--preset", "quick", *(w for k, v in SIZE.items() for w in ("--set", f"{k}={json.dumps(v)}")))


def pictures(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "figures").iterdir())}


@pytest.mark.slow
def test_objectives_in_two_processes_one_of_which_is_killed(tmp_path):
    common = {"study": "objectives", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    [(code, _, err)] = end([begin(tmp_path / "one", *OPTIONS, **common)])
    assert code == 0, err
    team = begin_team(tmp_path / "two", *OPTIONS, "--process-timeout", "10", **common)
    for line in team[0].stderr:
        if "[2/5]" in line:  # the training is stored, two cells that measure are computed side by side
            break
    team[1].send_signal(signal.SIGKILL)
    (code, _, err), _ = end(team)
    assert code == 1
    assert "error: process 1 of 2 gave no sign of life for" in err
    assert not (tmp_path / "two" / "report.html").exists()
    for code, _, err in end(begin_team(tmp_path / "two", *OPTIONS, **common)):
        assert code == 0, err
    assert tables(tmp_path / "one") == tables(tmp_path / "two")
    assert pictures(tmp_path / "one") == pictures(tmp_path / "two")
    assert len(pictures(tmp_path / "one")) > 5
    assert len(list(tmp_path.glob("two/**/report.html"))) == 1
    assert len(list(tmp_path.glob("two/cells/*/manifest.json"))) == 5
    provenance = json.loads((tmp_path / "two" / "provenance.json").read_text())
    assert "in 2 processes" in provenance["devices"]
