"""Two real processes on loopback: the tables of one, one writer, and a named end when one of them dies.

The sizes of the timeouts bound how long a test can hang: a run that waited for ever would fail here.
"""

import json
import os
import signal
import socket
import time
from pathlib import Path

import pandas as pd
import pytest
from runs import begin, begin_team, end, free_port, tables


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, cache):
    """Tables of one process with one device."""
    folder = tmp_path_factory.mktemp("one")
    [(code, _, err)] = end([begin(folder, **cache)])
    assert code == 0, err
    return folder


def agree(one, other):
    """All tables equal at rtol 1e-5; devices may change float32 sums in their last digits."""
    paths = sorted((one / "tables").glob("*.csv"))
    assert len(paths) == len(list((other / "tables").glob("*.csv"))) >= 5
    for path in paths:
        expected, found = pd.read_csv(path), pd.read_csv(other / "tables" / path.name)
        pd.testing.assert_frame_equal(found, expected, rtol=1e-5, atol=1e-6)


def test_two_processes_give_the_tables_of_one(tmp_path, cache, alone):
    notes = tmp_path / "notes"
    notes.mkdir()
    first, second = end(begin_team(tmp_path, **cache, TINY_NOTES=str(notes)))
    assert first[0] == second[0] == 0, first[2] + second[2]
    assert "[1/8] first" in first[2]
    assert second[1:] == ("", ""), "only the first process speaks"
    assert tables(tmp_path) == tables(alone)
    cells, who = zip(*sorted(path.name.split(" by ") for path in notes.iterdir()), strict=True)
    assert cells == ("side 0", "side 1", "side 2"), (
        "each cell by one process, and the third with the last one"
    )
    assert who[0] != who[1]
    assert not list(tmp_path.rglob("scratch")), "checkpoints of a finished cell stayed"
    assert pd.read_csv(tmp_path / "tables" / "iw_per_datum.csv")["log_evidence"].nunique() == 150


def test_four_devices_give_the_tables_of_one(tmp_path, alone):
    [(code, _, err)] = end([begin(tmp_path, devices=4)])
    assert code == 0, err
    agree(alone, tmp_path)


@pytest.mark.slow
def test_every_estimator_with_more_devices_and_more_processes(tmp_path, cache):
    runs = {"one": [begin(tmp_path / "one", "--preset", "full", flags="", **cache)]}
    assert end(runs["one"])[0][0] == 0
    for name, count, devices in (("devices", 1, 4), ("processes", 2, 1), ("both", 3, 2)):
        common = {"devices": devices, "flags": "", **cache}
        team = (
            [begin(tmp_path / name, "--preset", "full", **common)]
            if count == 1
            else begin_team(tmp_path / name, "--preset", "full", count=count, **common)
        )
        for code, _, err in end(team, timeout=500):
            assert code == 0, err
        agree(tmp_path / "one", tmp_path / name)


def wait_for(process, words):
    """Read stderr up to a line with ``words``."""
    while True:
        line = process.stderr.readline()
        assert line, "the process ended early"
        if words in line:
            return


def test_a_killed_process_ends_the_others_by_name_and_what_was_finished_stays(tmp_path):
    """Process 1 of one run and the coordinator of another get SIGKILL while the other one waits for them.

    Before, a third run is refused by the folder that the second one writes to.
    """
    common = ("--preset", "quick", "--process-timeout", "5")
    stuck = {"TINY_TROUBLE": "sleep last"}
    worker = begin_team(tmp_path / "a", *common, variables=[{}, stuck])
    leader = begin_team(tmp_path / "b", *common, variables=[stuck, {}])
    wait_for(worker[0], "[2/2] last")
    wait_for(leader[0], "[1/2] first")
    [(code, _, err)] = end([begin(tmp_path / "b", "--preset", "quick")])
    assert code == 1
    assert f"error: another process is writing to {tmp_path / 'b'}" in err
    worker[1].send_signal(signal.SIGKILL)
    leader[0].send_signal(signal.SIGKILL)
    begun = time.monotonic()
    (code, _, err), _ = end(worker, timeout=60)
    assert code == 1
    assert "error: process 1 of 2 gave no sign of life for" in err
    assert "(its last step: \"cell 'last'\"" in err
    assert "step here: 'tables and report, the end'" in err
    _, (code, _, err) = end(leader, timeout=60)
    assert code == 1
    assert "error: process 1 of 2 was ended by SIGABRT in step 'tables and report, the end'" in err
    assert "process 0, which coordinates, no longer answers" in err
    assert time.monotonic() - begun < 40
    [(code, out, err)] = end([begin(tmp_path / "b", "--preset", "quick", "--json")])
    assert (code, json.loads(out)["reused"]) == (0, 1), err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the computing process through /proc")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_the_computing_process_is_killed_or_stopped(tmp_path, how):
    """Not its supervisor, as above; a process that was only stopped ends too, once it goes on."""
    stuck = {"TINY_TROUBLE": "sleep last"}
    team = begin_team(tmp_path, "--preset", "quick", "--process-timeout", "5", variables=[{}, stuck])
    wait_for(team[0], "[2/2] last")
    child = int(Path(f"/proc/{team[1].pid}/task/{team[1].pid}/children").read_text())
    os.kill(child, getattr(signal, how))
    begun = time.monotonic()
    [(code, _, err)] = end(team[:1], timeout=60)
    assert code == 1
    assert "error: process 1 of 2 gave no sign of life for" in err
    assert "step here: 'tables and report, the end'" in err
    assert time.monotonic() - begun < 20
    if how == "SIGSTOP":
        os.kill(child, signal.SIGCONT)
    [(code, _, err)] = end(team[1:], timeout=60)
    assert code == 1
    words = "process 1 of 2 was ended by SIGKILL in step" if how == "SIGKILL" else "process 1 of 2"
    assert f"error: {words}" in err
    assert not Path(f"/proc/{child}").exists(), "it outlives its supervisor"


@pytest.mark.slow
def test_a_port_in_use_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        options = ("--distributed", "--coordinator", address, "--num-processes", "2", "--process-id", "0")
        left = begin(tmp_path, *options, "--preset", "quick", "--process-timeout", "3")
        [(code, _, err)] = end([left], timeout=60)
    assert code == 1
    assert err.startswith(f"error: process 0 of 2 cannot coordinate at {address}: Address already in use")


@pytest.mark.slow
@pytest.mark.parametrize("who", [0, 1])
def test_a_process_that_fails_says_why_in_all(tmp_path, who):
    variables = [{}, {}]
    variables[who] = {"TINY_TROUBLE": "fail last"}
    results = end(begin_team(tmp_path, "--preset", "quick", variables=variables))
    assert [code for code, _, _ in results] == [1, 1]
    assert "error: made to fail" in results[who][2]
    assert f"error: process {who} ended in step \"cell 'last'\": made to fail" in results[1 - who][2]


@pytest.mark.slow
def test_a_folder_that_another_run_writes_to_is_refused_in_every_process(tmp_path):
    alone = begin(tmp_path, "--preset", "quick", TINY_TROUBLE="sleep last")
    wait_for(alone, "[1/2] first")
    results = end(begin_team(tmp_path, "--preset", "quick"))
    alone.kill()
    words = f"another process is writing to {tmp_path} (process {alone.pid})"
    assert [code for code, _, _ in results] == [1, 1]
    assert results[0][2].startswith(f"error: {words}")
    assert f"error: process 0 ended in step 'joining the other processes': {words}" in results[1][2]


@pytest.mark.slow
def test_processes_that_run_something_else_are_refused(tmp_path):
    address = ("--distributed", "--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2")
    team = [
        begin(tmp_path, *address, "--process-id", "0", "--preset", "quick"),
        begin(tmp_path, *address, "--process-id", "1", "--preset", "standard"),
    ]
    for code, _, err in end(team):
        assert code == 1
        assert "differs from process" in err
        assert "settings is" in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("who", "words"), [(0, "waited in vain for the others"), (1, "found no coordinator at 127.0.0.1")]
)
def test_a_process_left_alone_says_whom_it_waited_for(tmp_path, who, words):
    options = ("--distributed", "--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", "2")
    left = begin(tmp_path, *options, "--process-id", str(who), "--preset", "quick", "--process-timeout", "3")
    [(code, _, err)] = end([left], timeout=60)
    assert code == 1
    assert words in err
    assert not (tmp_path / "cells").exists()
