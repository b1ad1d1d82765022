"""A study that trains, measures and reports is killed again and again, and ends with the bytes of an undisturbed one."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KILLS = 200


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_sigkill_at_two_hundred_instants_from_compilation_to_report_changes_no_byte(tmp_path):
    """Tables, figures and results.json; every stage of a run is struck (the table says how often: ``-rP``)."""
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    words = [sys.executable, str(HERE / "sweep_kill_harness.py"), str(tmp_path), str(KILLS), "0"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    print(done.stdout)
    table, last = done.stdout.rstrip().rsplit("\n", 1)
    struck = {row[0]: int(row[1]) + int(row[2]) for row in csv.reader(table.splitlines()[1:])}
    assert last.startswith(f"{KILLS} kills over ")
    assert sum(struck.values()) == KILLS
    assert any(count for stage, count in struck.items() if "before the rename" in stage)
    stages = dict.fromkeys((stage.split(",")[0] for stage in struck), 0)
    for stage, count in struck.items():
        stages[stage.split(",")[0]] += count
    del stages["start"]  # ten milliseconds that no kill is aimed at
    assert min(stages.values()) >= 2, stages
