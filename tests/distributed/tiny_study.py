"""A small real study for runs of one and of several processes: trains, estimates, and writes tables.

TINY_TROUBLE="fail CELL" or "sleep CELL" makes a process fail or stop there.
"""

import os
import pathlib
import time

import numpy as np
import pandas as pd

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError
from vaeaudit.report.page import Finding, Page, Section, Table
from vaeaudit.study.study import Cell, CellResult, Study


def plan(settings):
    train = [Cell("train", {"seeds": settings["seeds"], "epochs": 1})] if settings["measures"] else []
    keys = ["train", *settings["measures"]]  # each needs the one before: all processes compute it together
    measures = [Cell(kind, {"kind": kind}, needs=["train", keys[i]]) for i, kind in enumerate(keys[1:])]
    sides = [Cell(f"side {i}", {"side": i}, needs=["first"]) for i in range(settings["sides"])]
    return [Cell("first", {}), *train, *measures, *sides, Cell("last", {}, needs=["first"])]


def build(rng_key):
    return va.mlp_vae(rng_key, event_shape=(8, 8), latent_dim=2, hidden=(16,))


def train(cell):
    import jax

    assert cell.scratch is not None, "every process that sees the folder may keep checkpoints"
    config = cell.config
    data = va.load_data("digits")
    result = va.sweep(
        build,
        ["elbo", "beta(0.1)"],
        data,
        seeds=config["seeds"],
        epochs=config["epochs"],
        batch_size=64,
        checkpoint=cell.scratch,
    )
    arrays = {f"leaf_{i}": leaf for i, leaf in enumerate(jax.tree.leaves(result.models[-1]))}
    arrays |= dict(zip(("loc", "scale"), result.models[0].encode(data.test[:200]), strict=True))
    return CellResult({"history": result.history, "settings": result.settings}, arrays)


def measure(kind, trained):
    import jax

    x = va.load_data("digits").test[:150]
    if kind == "aggregate":
        found = va.aggregate_posterior(
            (trained.arrays["loc"], trained.arrays["scale"]), rng_key=1, num_samples=4
        )
        return CellResult({"by_latent": found.by_latent, "bounds": found.bounds})
    like = build(jax.random.key(0))
    leaves = [trained.arrays[f"leaf_{i}"] for i in range(len(jax.tree.leaves(like)))]
    model = jax.tree.unflatten(jax.tree.structure(like), leaves)
    if kind == "rate":
        found = va.rate_distortion(model, x, rng_key=2, num_samples=64)
        return CellResult({"per_datum": found.per_datum})
    method, _, proposal = kind.partition(" ")
    options = {"proposal": proposal} if proposal else {}
    found = va.log_evidence(model, x, 3, method, 400, batch_size=32, **options)
    return CellResult({"per_datum": found.per_datum}, record={"mean": found.mean.value})


def compute(cell, results):
    trouble = os.environ.get("TINY_TROUBLE")
    if trouble == f"fail {cell.key}":
        raise ArgumentError("made to fail")
    if trouble == f"sleep {cell.key}":
        time.sleep(600)
    if cell.key.startswith("side"):
        if folder := os.environ.get("TINY_NOTES"):  # who computed it
            (pathlib.Path(folder) / f"{cell.key} by {os.getpid()}").touch()
        x = np.random.default_rng(cell.config["side"]).normal(size=5).astype(np.float32)
        frame = pd.DataFrame({"x": x, "n": np.arange(5), "text": ["a", None, "", '"', "é"]})
        return CellResult({"t": frame}, {"x": x}, {"n": np.int64(2), "pair": (0.1, x[0])})
    if cell.key in ("first", "last"):
        return CellResult({"t": pd.DataFrame({"x": [0.1 + len(results)]})}, record={"n": len(results)})
    return train(cell) if cell.key == "train" else measure(cell.key, results["train"])


def page(settings, results):
    tables = [
        Table(f"{key}_{name}".replace(" ", "_"), key, frame)
        for key, result in results.items()
        for name, frame in result.frames.items()
    ]
    return Page("tiny", "Tiny", "?", "Done.", [Finding("pass", "fine")], [Section("All", tables)])


study = Study(
    name="tiny",
    title="Tiny",
    question="?",
    presets={
        "quick": {"seeds": [0], "measures": [], "sides": 0},  # no JAX
        "standard": {"seeds": [0, 1, 2], "measures": ["iw", "aggregate"], "sides": 3},
        "full": {
            "seeds": [0, 1, 2],
            "measures": ["iw adapted", "auto", "ais", "quadrature", "rate"],
            "sides": 0,
        },
    },
    plan=plan,
    compute=compute,
    page=page,
    summary=lambda settings, results: results["last"].frames["t"],
)

if __name__ == "__main__":
    study.main()
