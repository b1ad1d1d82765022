"""Kill a study that trains, measures and reports at random instants until it finishes; compare every byte.

Run as a script: ``python sweep_kill_harness.py FOLDER KILLS SEED``. It prints, as CSV, in which stage of the
run each kill struck: half of the kills come at an instant drawn over the length of a run, half wait for a stage
drawn at random, so that windows of a millisecond (a checkpoint written and not yet renamed) are struck too.

Everything heavy is imported once and the process forks before JAX's backend starts. A run tells its stage in
one byte of memory that it shares with its parent, which is what stands there after its death.
"""

import collections
import functools
import itertools
import mmap
import os
import random
import signal
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import jax
import matplotlib
import matplotlib.figure

matplotlib.use("Agg")
import numpy as np
import pandas as pd

import vaeaudit as va
from vaeaudit.core.devices import backend_started
from vaeaudit.estimators import evidence, rate_distortion  # noqa: F401  imported before the fork
from vaeaudit.report import html, pdf, prepare, writer  # noqa: F401
from vaeaudit.report.page import Figure, Finding, Page, Section, Table
from vaeaudit.study import provenance
from vaeaudit.study.runner import run_study
from vaeaudit.study.store import CellStore
from vaeaudit.study.study import Cell, CellResult, Study
from vaeaudit.training import driver, resume

EPOCHS = 16
DATA = va.load_data("digits")
BUILD = functools.partial(va.mlp_vae, event_shape=(8, 8), latent_dim=2, hidden=())
HALF = ", before the rename"
STAGES = (
    "start", "compile", "training", "checkpoint", "checkpoint" + HALF, "checkpoint, arrays without manifest",
    "measuring", "cell", "cell" + HALF, "tables", "tables" + HALF, "report", "report" + HALF,
)  # fmt: skip


class Stage:
    """Where a run is, in a byte that its parent reads."""

    def __init__(self, shared):
        self.shared, self.base, self.log = shared, "start", []

    def enter(self, name, *, base=True):
        if base:
            self.base = name
        self.shared[0] = STAGES.index(name)
        self.log.append((name, time.monotonic()))


# ------------------------------------------------------------------------------------------ the study


def plan(settings):
    train = Cell("train", {"epochs": EPOCHS})
    return [train, *(Cell(f"measure {i}", {"model": i}, needs=["train"]) for i in range(3))]


def compute(cell, results, *, stage):
    if cell.key == "train":
        return train(cell.scratch, stage)
    stage.enter("measuring")
    like = BUILD(0)
    arrays = results["train"].arrays
    index = cell.config["model"]
    leaves = [arrays[f"leaf_{i}"][index] for i in range(len(jax.tree.leaves(like)))]
    model = jax.tree.unflatten(jax.tree.structure(like), leaves)
    x = DATA.test[:20]
    found = va.log_evidence(model, x, 1, "iw", 200)
    frame = found.per_datum.assign(model=index)
    return CellResult({"per_datum": frame}, {"value": found.value}, {"mean": found.mean.value})


def train(scratch, stage):
    """Two programs, with early stopping's state; a checkpoint after every epoch."""
    driver.CHUNK_SECONDS = 0.0

    def tell(epoch, epochs, info):
        stage.enter("training" if epoch else "compile")

    stage.enter("compile")
    result = va.sweep(
        BUILD, ["elbo", "iwae(2)"], DATA, seeds=[0, 1], epochs=EPOCHS, patience=EPOCHS + 1,
        checkpoint=scratch, checkpoint_seconds=0.0, progress=tell,
    )  # fmt: skip
    leaves = zip(*(jax.tree.leaves(model) for model in result.models), strict=True)
    arrays = {f"leaf_{i}": np.stack([np.asarray(leaf) for leaf in leaf_i]) for i, leaf_i in enumerate(leaves)}
    return CellResult({"history": result.history, "settings": result.settings}, arrays)


def draw(frame):
    figure = matplotlib.figure.Figure(figsize=(3, 2))
    figure.subplots().hist(frame["log_evidence"])
    return figure


def page(settings, results):
    measured = pd.concat([results[key].frames["per_datum"] for key in results if key != "train"])
    blocks = [
        Table("history", "History", results["train"].frames["history"]),
        Table("measured", "Measured", measured),
        Figure("values", "Values", "A histogram", functools.partial(draw, measured), measured),
    ]
    return Page("swept", "Swept", "?", "Done.", [Finding("pass", "fine")], [Section("All", blocks)])


def summary(settings, results):
    means = {key: results[key].record["mean"] for key in results if key != "train"}
    return pd.DataFrame({"cell": list(means), "mean": list(means.values())})


def watch(stage):
    """Make files and cells of this process tell the stage."""
    mkstemp, replace = tempfile.mkstemp, os.replace

    def made(*arguments, **options):
        found = mkstemp(*arguments, **options)
        if stage.base + HALF in STAGES:
            stage.enter(stage.base + HALF, base=False)
        return found

    def moved(source, target):
        replace(source, target)
        bare = stage.base == "checkpoint" and str(target).endswith(".safetensors")
        stage.enter("checkpoint, arrays without manifest" if bare else stage.base, base=False)

    def within(name, function):
        @functools.wraps(function)
        def call(*arguments, **options):
            before = stage.base
            stage.enter(name)
            try:
                return function(*arguments, **options)
            finally:
                stage.enter(before)

        return call

    tempfile.mkstemp, os.replace = made, moved
    resume.Checkpoints.save = within("checkpoint", resume.Checkpoints.save)
    CellStore.save = within("cell", CellStore.save)
    writer.write = within("report", writer.write)


def run(folder, stage=None, shared=None):
    """The study into ``folder``, whole or to its end."""
    stage = stage or Stage(shared if shared is not None else bytearray(1))

    def tell(event):
        if event.kind in ("page", "report"):
            stage.enter("tables" if event.kind == "page" else "report")

    study = Study(
        name="swept", title="Swept", question="?", presets={"standard": {}}, plan=plan,
        compute=functools.partial(compute, stage=stage), page=page, summary=summary,
    )  # fmt: skip
    return run_study(study, "standard", folder, on_event=tell)


# -------------------------------------------------------------------------------------------- killing


def child(folder, shared, log=None):
    """A forked process that runs the study; its pid."""
    shared[0] = 0
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            warnings.simplefilter("error")  # a checkpoint that counts as damaged would be one
            stage = Stage(shared)
            watch(stage)
            stage.enter("start")
            run(folder, stage)
            stage.enter("report")
            if log is not None:
                log.write_text("\n".join(f"{name}\t{when!r}" for name, when in stage.log))
            code = 0
        finally:
            if error := sys.exception():
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(code)
    return pid


def ended(pid):
    """Whether the process ended by itself, waited for if so."""
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        assert os.WIFEXITED(status), status
        assert os.WEXITSTATUS(status) == 0, "an uninterrupted run failed"
    return bool(done)


def attempt(folder, shared, rng, lengths, typical):
    """Start a run and kill it at a random instant; the stage it died in and how it was chosen, or None."""
    trained = any(folder.glob("cells/train-*/manifest.json"))
    choices = STAGES[STAGES.index("measuring") :] if trained else STAGES[2:]
    target, aimed = rng.choice(choices), rng.random() < 0.5
    begun = time.monotonic()
    pid = child(folder, shared)
    if aimed:
        while shared[0] != STAGES.index(target):
            if ended(pid):
                return None
            assert time.monotonic() - begun < 120, f"a run hangs in {STAGES[shared[0]]}"
            time.sleep(5e-5)
        time.sleep(rng.uniform(0, typical[target]))
    else:
        time.sleep(rng.uniform(0, lengths[trained]))
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "an uninterrupted run failed"
        return None
    return STAGES[shared[0]], "aimed" if aimed else "uniform"


def contents(folder):
    """Bytes of everything that must not depend on interruptions."""
    files = [*(folder / "tables").glob("*"), *(folder / "figures").glob("*"), folder / "results.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}


def check(folder, reference):
    """The run in ``folder`` ended like one that nobody disturbed."""
    found = contents(folder)
    assert found.keys() == reference.keys(), found.keys() ^ reference.keys()
    different = [name for name, content in found.items() if content != reference[name]]
    assert not different, f"{different} differ from the uninterrupted run's"
    assert (folder / "report.html").read_text().rstrip().endswith("</html>")
    assert (folder / "report.pdf").read_bytes().rstrip().endswith(b"%%EOF")
    left = [p for p in folder.rglob("*") if p.name.startswith(".") and p.name != ".lock"]
    assert not left, f"temporary files of a killed writer stayed: {left}"
    assert not list(folder.rglob("scratch")), "checkpoints stayed"


def measure(log):
    """Seconds of a whole run and of one that has trained, and of a usual visit to each stage."""
    entries = [(name, float(when)) for name, when in (x.split("\t") for x in log.read_text().splitlines())]
    visits = collections.defaultdict(list)
    for (name, begin), (_, end) in itertools.pairwise(entries):
        visits[name].append(end - begin)
    trained = next(when for name, when in entries if name == "measuring")
    end = entries[-1][1]
    typical = {name: statistics.median(visits[name]) for name in STAGES}
    return (end - entries[0][1], end - trained), typical


def main(folder, kills, seed):
    folder = Path(folder)
    provenance._revision()  # asks git once, not in every child
    draw(pd.DataFrame({"log_evidence": [0.0, 1.0]})).savefig(os.devnull, format="png")  # reads the fonts
    shared = mmap.mmap(-1, 1)
    assert not backend_started(), "forks of this process would hang"
    for name in ("cold", "whole"):  # the second one finds its programs in the cache
        assert os.waitpid(child(folder / name, shared, folder / f"{name}.log"), 0)[1] == 0
    lengths, typical = measure(folder / "whole.log")
    reference = contents(folder / "whole")
    check(folder / "cold", reference)
    assert len(reference) >= 7, reference.keys()
    rng = random.Random(seed)
    struck = collections.Counter()
    runs = 0
    while struck.total() < kills:
        target = folder / f"run{runs}"
        for _ in range(60):
            found = attempt(target, shared, rng, lengths, typical)
            if found is None:
                break
            struck[found] += 1
            if struck.total() >= kills:
                break
        if found is not None:  # enough kills, or many on this folder: let it end
            assert os.waitpid(child(target, shared), 0)[1] == 0
        runs += 1
        check(target, reference)
    assert not backend_started()
    print("stage,at a uniform instant,in a chosen stage")
    for name in STAGES:
        print(f'"{name}",{struck[name, "uniform"]},{struck[name, "aimed"]}')
    print(f"{struck.total()} kills over {runs} runs of {lengths[0]:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
