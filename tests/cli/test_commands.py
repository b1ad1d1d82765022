"""The command line: results on stdout, progress on stderr, exit codes, suggestions, settings."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import vaeaudit.derivations.register as register
from vaeaudit.cli import doctor
from vaeaudit.cli.main import command, main
from vaeaudit.core import devices
from vaeaudit.study.console import execute
from vaeaudit.study.find import list_studies, studies_folder

TOY = Path(__file__).parent / "toy_study.py"


@pytest.fixture
def vaeaudit(tmp_path, monkeypatch, capsys):
    """Call the command line in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("VAEAUDIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(devices, "configure_devices", lambda: None)  # leave this process's JAX as it is
    shutil.copy(TOY, tmp_path / "toy.py")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["vaeaudit", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert Path.cwd() == tmp_path, "the working directory was changed"
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return call


def run_quietly(vaeaudit, *arguments):
    code, out, err = vaeaudit("run", "toy.py", "--no-report", "--json", *arguments)
    assert code == 0, err
    return json.loads(out)


def test_run_prints_the_table_and_the_paths_last(vaeaudit):
    code, out, err = vaeaudit("run", "toy.py", "--preset", "quick")
    assert code == 0
    lines = out.splitlines()
    assert lines[-2:] == ["reports/toy/report.html", "reports/toy/report.pdf"]
    assert lines[0].split() == ["sum"]
    assert "It is." in lines
    assert "[3/3] sum" in err
    assert "█" not in err, "a bar was drawn although nobody watches"
    for path in lines[-2:]:
        assert Path(path).stat().st_size > 1000


def test_a_second_run_goes_on_and_a_third_with_fresh_does_not(vaeaudit):
    assert run_quietly(vaeaudit)["computed"] == 5
    again = run_quietly(vaeaudit)
    assert (again["computed"], again["reused"]) == (0, 5)
    assert again["summary"] == [{"sum": 6.0}]
    assert run_quietly(vaeaudit, "--fresh")["computed"] == 5


def test_dry_run_writes_nothing_and_says_what_is_finished(vaeaudit):
    code, out, _ = vaeaudit("run", "toy.py", "--dry-run")
    assert code == 0
    assert "5 cells, 0 finished" in out
    assert not Path("reports").exists()
    run_quietly(vaeaudit, "--preset", "quick")
    _, out, _ = vaeaudit("run", "toy.py", "--dry-run", "--json")
    finished = {cell["key"]: cell["finished"] for cell in json.loads(out)["cells"]}
    assert finished == {"cell 0": True, "cell 1": True, "cell 2": False, "cell 3": False, "sum": False}


def test_settings_and_seeds_replace_those_of_the_preset(vaeaudit):
    assert run_quietly(vaeaudit, "--seeds", "3", "--set", "factor=10")["summary"] == [{"sum": 30.0}]
    assert run_quietly(vaeaudit, "--set", "seeds=[5, 6]")["summary"] == [{"sum": 11.0}]


def test_flag_beats_environment_beats_file_beats_default(vaeaudit, monkeypatch):
    def presets(*arguments):
        return run_quietly(vaeaudit, *arguments)["preset"]

    Path("x.toml").write_text('preset = "quick"\n[run.set]\nfactor = 3.0\n')
    assert presets() == "standard"
    assert presets("--config", "x.toml") == "quick"
    monkeypatch.setenv("VAEAUDIT_PRESET", "standard")
    assert presets("--config", "x.toml") == "standard"
    assert presets("--config", "x.toml", "--preset", "quick") == "quick"
    monkeypatch.delenv("VAEAUDIT_PRESET")
    monkeypatch.setenv("VAEAUDIT_CONFIG", "x.toml")
    assert run_quietly(vaeaudit)["summary"] == [{"sum": 3.0}]
    assert run_quietly(vaeaudit, "--set", "factor=4")["summary"] == [{"sum": 4.0}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('prest = "quick"', "Did you mean 'preset'"),
        ("[run]\nouput = 'x'", "Did you mean 'output'"),
        ("preset =", "not valid TOML"),
        ("[run.set]\nfactr = 1", "Did you mean 'factor'"),
    ],
)
def test_mistakes_in_a_settings_file_are_named(vaeaudit, content, words):
    Path("x.toml").write_text(content)
    code, _, err = vaeaudit("run", "toy.py", "--config", "x.toml")
    assert code == 2
    assert words in err
    assert vaeaudit("run", "toy.py", "--config", "none.toml")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rnu", "toy.py"], "Did you mean 'run'"),
        (["run", "objectvies"], "Did you mean 'objectives'"),
        (["run", "toy.py", "--preset", "quik"], "Did you mean 'quick'"),
        (["run", "toy.py", "--prest", "quick"], "--preset"),
        (["run", "toy.py", "--set", "factr=1"], "Did you mean 'factor'"),
        (["run", "toy.py", "--set", "factor"], "KEY=VALUE"),
        (["run", "toy.py", "--set", "factor=much"], "'factor' is a number such as 1.0; got \"much\""),
        (["run", "toy.py", "--set", "seeds=3", "--dry-run"], "For 3 seeds say --seeds 3"),
        (["run", "toy.py", "--seeds", "0"], "0"),
        (["run"], "NAME"),
        (["audit", "toy.py:study"], "must be a function without arguments"),
    ],
)
def test_typos_are_usage_errors_with_a_suggestion_and_no_traceback(vaeaudit, arguments, words):
    code, out, err = vaeaudit(*arguments)
    assert words in err
    assert code == (1 if arguments[0] == "audit" else 2)
    assert out == ""
    assert "Traceback" not in err


def test_a_report_of_no_run_says_so_and_makes_no_folder(vaeaudit):
    code, out, err = vaeaudit("report", "toy.py", "--output", "nowhere")
    assert (code, out) == (1, "")
    assert err == (
        "error: no run of 'toy' in nowhere: no such folder. Name the folder of a run with --output, or compute it "
        "first: vaeaudit run toy --preset standard\n"
    )
    assert not Path("nowhere").exists()


def test_an_error_is_one_message_and_debug_shows_the_traceback(vaeaudit, monkeypatch):
    code, _, err = vaeaudit("run", "missing.py")
    assert code == 2
    assert err.startswith("error: no study script at missing.py")
    assert len(err.splitlines()) == 1
    for position in (["--debug", "run", "missing.py"], ["run", "missing.py", "--debug"]):
        monkeypatch.setattr(sys, "argv", ["vaeaudit", *position])
        with pytest.raises(ValueError, match="no study script"):
            main()


def test_an_output_that_cannot_be_written_is_named(vaeaudit):
    Path("file").write_text("in the way")
    code, _, err = vaeaudit("run", "toy.py", "--output", "file")
    assert code == 1
    assert "error: cannot write file" in err
    assert "--output" in err


def test_report_renders_from_cells_and_never_computes(vaeaudit):
    Path("reports/toy").mkdir(parents=True)  # a run that finished nothing
    code, _, err = vaeaudit("report", "toy.py")
    assert code == 1
    assert "not finished" in err
    run_quietly(vaeaudit)
    shutil.rmtree("reports/toy/tables")
    code, out, err = vaeaudit("report", "toy.py")
    assert code == 0, err
    assert out.splitlines()[-2] == "reports/toy/report.html"
    assert Path("reports/toy/tables/sum.csv").exists()


def test_list_names_every_study(vaeaudit):
    code, out, _ = vaeaudit("list", "--json")
    rows = json.loads(out)
    assert code == 0
    assert {row["name"] for row in rows} == {path.stem for path in studies_folder().glob("[!_]*.py")}
    assert "objectives" in {row["name"] for row in rows}
    assert all(row["title"] and row["question"] for row in rows)
    _, out, _ = vaeaudit("list")
    assert all(study.name in out for study in list_studies())


def test_check_exits_with_one_when_a_verdict_differs(vaeaudit, monkeypatch):
    frame = pd.DataFrame(
        {
            "claim": ["A1", "A2"],
            "statement": ["s", "t"],
            "verdict": ["holds", "false"],
            "registered": ["holds", "holds"],
            "agrees": [True, False],
        }
    )
    monkeypatch.setattr(register, "check_derivations", lambda names=None: frame)
    code, out, _ = vaeaudit("check")
    assert code == 1
    assert "2 claims checked, 1 differ" in out
    monkeypatch.setattr(register, "check_derivations", lambda names=None: frame.head(1))
    code, out, _ = vaeaudit("check", "--json")
    assert code == 0
    assert json.loads(out) == [
        {"claim": "A1", "statement": "s", "verdict": "holds", "registered": "holds", "agrees": True}
    ]


def test_check_runs_a_real_claim_and_suggests_names(vaeaudit):
    name = register.check_derivations(["A1"])["claim"][0]
    assert vaeaudit("check", name)[0] == 0
    code, _, err = vaeaudit("check", "A111")
    assert code == 2
    assert "A1" in err


def test_doctor_finds_everything_here_and_names_a_problem(vaeaudit, monkeypatch):
    code, out, _ = vaeaudit("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(out)}
    assert code == 0, out
    assert {"python", "jax", "data", "studies", "output folder", "HTML and PDF"} <= set(checks)
    broken = doctor.Check("data", False, "gone", "Reinstall.")
    monkeypatch.setattr(doctor, "CHECKS", (doctor.CHECKS[0], lambda: broken))
    code, out, _ = vaeaudit("doctor")
    assert code == 1
    assert "PROBLEM" in out
    assert "Reinstall." in out
    assert "1 problem" in out


def test_completion_for_each_shell(vaeaudit):
    for shell in ("bash", "zsh", "fish"):
        code, out, _ = vaeaudit("completion", shell)
        assert code == 0
        assert "_VAEAUDIT_COMPLETE" in out
    assert vaeaudit("completion", "tcsh")[0] == 2


def test_study_names_complete(vaeaudit, monkeypatch, capsys):
    monkeypatch.setenv("COMP_WORDS", "vaeaudit run obj")
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setenv("_VAEAUDIT_COMPLETE", "bash_complete")
    with pytest.raises(SystemExit):
        execute(command, [], prog_name="vaeaudit")
    assert "objectives" in capsys.readouterr().out


FACTORY = """
import numpy as np, vaeaudit as va
weight = 0.05 * np.random.default_rng(0).normal(size=(2, 64))
def build():
    return va.from_decoder(
        encode=lambda x: (np.zeros((len(x), 2)), np.ones((len(x), 2))),
        decode=lambda z: (z @ weight).reshape(-1, 8, 8), latent_dim=2, framework="numpy")
"""


def test_audit_writes_a_report_and_holds_thresholds(vaeaudit):
    Path("mine.py").write_text(FACTORY)
    common = ["audit", "mine.py:build", "--preset", "quick", "--num-data", "40"]
    code, _, err = vaeaudit(*common)
    assert code == 2
    assert "--data" in err
    limits = ["--fail-under", "log_evidence=-1000", "--fail-under", "elbo=-10", "--fail-on", "warn"]
    code, out, err = vaeaudit(*common, "--data", "digits", *limits)
    assert code == 3
    assert out.splitlines()[-2:] == ["reports/audit-build/report.html", "reports/audit-build/report.pdf"]
    assert "not met: elbo ≥ -10" in err
    assert "not met: warn finding" in err
    assert "log_evidence" not in err
    rows = json.loads(Path("reports/audit-build/results.json").read_text())["table"]
    assert {row["quantity"] for row in rows} >= {"elbo", "rate", "active_units"}
    provenance = Path("reports/audit-build/report.html").read_text()
    assert "vaeaudit audit mine.py:build" in provenance


def test_interrupt_keeps_cells_and_prints_the_command_that_goes_on(tmp_path):
    """A script run by itself: the same command line, interrupted as Ctrl-C does."""
    shutil.copy(TOY, tmp_path / "toy.py")
    words = [sys.executable, "toy.py", "--no-report", "--output", "my results"]
    slow = {**os.environ, "TOY_SECONDS": "0.5"}
    # a child inherits an ignored Ctrl-C, as that of a job in the background is
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        words, cwd=tmp_path, env=slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    while "[1/5] cell 0" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    resume = shlex.split(err.splitlines()[-1])
    assert resume == ["python", "toy.py", "--no-report", "--output", "my results"]
    done = subprocess.run(
        [sys.executable, *resume[1:], "--json"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["reused"] >= 1


def test_a_reader_that_leaves_is_no_traceback():
    code = "import sys; sys.argv = ['vaeaudit', 'list']; from vaeaudit.cli.main import main; main()"
    reader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reader.stdout.close()
    err = reader.stderr.read().decode()
    reader.wait()
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
