"""A run's numbers depend on nothing but its own settings; what is refused; what is reported."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError, ShapeError, SupportError, TrainingError
from vaeaudit.training import driver
from vaeaudit.training.sweep import initialise

BUILD = functools.partial(va.mlp_vae, event_shape=(8, 8), latent_dim=3, hidden=(16,))
OBJECTIVES = ["elbo", "beta(0.1)", "mmd(10)", "autoencoder", "total_correlation(4)", "iwae(3)"]


@pytest.fixture(scope="module")
def data():
    return va.load_data("digits")


@pytest.fixture(scope="module")
def result(data):
    return va.sweep(BUILD, OBJECTIVES, data, seeds=[0, 1], epochs=3)


def same(a, b):
    return all(np.array_equal(u, v) for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("name", ["elbo", "mmd(10)", "iwae(3)"])
def test_a_run_alone_gives_the_same_bits(name, result, data):
    alone = va.fit(initialise(BUILD, [1])[0], name, data, rng_key=1, epochs=3)
    label = va.objectives.parse(name).name
    assert same(alone.model, result.select(objective=label, seed=1)[0])
    rows = result.history.query("objective == @label and seed == 1")
    pd.testing.assert_frame_equal(
        alone.history, rows[alone.history.columns].reset_index(drop=True), check_exact=True
    )


def test_one_device_gives_the_same_bits_as_two(result, data):
    assert jax.device_count() >= 2, "tests force two host devices"
    single = va.sweep(BUILD, OBJECTIVES, data, seeds=[0, 1], epochs=3, num_devices=1)
    assert same(single.models, result.models)
    pd.testing.assert_frame_equal(single.history, result.history, check_exact=True)


def test_the_length_of_chunks_does_not_matter(result, data, monkeypatch):
    monkeypatch.setattr(driver, "CHUNK", 2)
    chunked = va.sweep(BUILD, ["elbo"], data, seeds=[0], epochs=3)
    assert same(chunked.models[0], result.models[0])


def test_vmap_agrees_with_map(result, data):
    batched = va.sweep(BUILD, OBJECTIVES[:2], data, seeds=[0, 1], epochs=3, mode="vmap")
    for a, b in zip(batched.models, result.models[:4], strict=True):
        np.testing.assert_allclose(a.encoder.loc_head.weight, b.encoder.loc_head.weight, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(
        batched.history["elbo"], result.history["elbo"][: len(batched.history)], rtol=1e-3
    )


def test_order_and_labels(result):
    assert result.settings["objective"].tolist() == [
        va.objectives.parse(o).name for o in OBJECTIVES for _ in (0, 1)
    ]
    assert result.settings["seed"].tolist() == [0, 1] * len(OBJECTIVES)
    assert not result.settings["diverged"].any()
    assert list(result.history.columns[:7]) == [
        "objective", "seed", "epoch", "objective_value", "elbo", "rate", "distortion",
    ]  # fmt: skip
    assert len(result.history) == 12 * 3
    assert result.history["epoch"].tolist() == [1, 2, 3] * 12


def test_seeds_fix_the_start_whoever_else_is_there():
    a, b = initialise(BUILD, [4, 5])[1], initialise(BUILD, [5])[0]
    assert same(a, b)
    assert not same(a, initialise(BUILD, [6])[0])
    assert jax.tree.structure(a) == jax.tree.structure(BUILD(jax.random.key(5)))
    for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(BUILD(jax.random.key(5))), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-6)


SCRIPT = """
import functools, hashlib, jax, vaeaudit as va
build = functools.partial(va.mlp_vae, event_shape=(8, 8), latent_dim=2, hidden=())
s = va.sweep(build, ["elbo", "beta(0.5)"], va.load_data("digits"), seeds=[0, 7], epochs=2)
h = hashlib.sha256(s.history.to_csv(index=False).encode())
for leaf in jax.tree.leaves(s.models): h.update(leaf.tobytes())
print(h.hexdigest())
"""


def test_two_fresh_processes_agree_to_the_byte():
    """The second runs on one device and with another hash seed."""
    hashes = []
    for count in ("2", "1"):
        environment = {
            **os.environ,
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
            "PYTHONHASHSEED": count,
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        hashes.append(done.stdout.strip())
    assert len(hashes[0]) == 64
    assert hashes[0] == hashes[1]


def test_one_broken_run_is_a_flag_and_all_broken_an_error(data):
    mixed = va.sweep(BUILD, ["elbo"], data, seeds=[0], epochs=2, learning_rate=[1e-3, 1e30])
    assert mixed.settings["diverged"].tolist() == [False, True]
    assert mixed.settings["learning_rate"].tolist() == [1e-3, 1e30]
    assert mixed.history.query("learning_rate == 1e-3")["elbo"].notna().all()
    with pytest.raises(TrainingError, match="learning rate"):
        va.sweep(BUILD, ["elbo"], data, seeds=[0, 1], epochs=2, learning_rate=1e30)


def test_several_architectures_get_a_column(data):
    builds = {"narrow": BUILD, "linear": functools.partial(BUILD, hidden=())}
    both = va.sweep(builds, ["elbo"], data, seeds=[0], epochs=1)
    assert both.settings["model"].tolist() == ["narrow", "linear"]
    assert both.models[1].encoder.loc_head.weight.shape == (3, 64)
    assert "model" in both.history


def test_settings_that_are_numbers_share_one_program(data, monkeypatch):
    made = []
    original = driver.jitted
    monkeypatch.setattr(driver, "jitted", lambda plan, devices: made.append(plan) or original(plan, devices))
    monkeypatch.setattr(driver, "_COMPILED", {})
    build = functools.partial(BUILD, likelihood="gaussian")
    builds = {str(s): functools.partial(build, likelihood_scale=s) for s in (0.5, 1.0)}
    objectives = ["beta(0.5)", "beta(2)", "learned_scale", "wasserstein_penalty"]
    va.sweep(builds, objectives, data, seeds=[0, 1], epochs=1, learning_rate=[1e-3, 1e-4])
    assert len(made) == 1


def test_progress_announces_compilation_and_counts_epochs(data, monkeypatch):
    monkeypatch.setattr(driver, "_COMPILED", {})
    events = []
    va.sweep(BUILD, ["elbo"], data, seeds=[0], epochs=3, progress=lambda *a: events.append(a))
    names = [e[2]["event"] for e in events]
    assert names[0] == "compiling"
    assert names.count("compiling") == 1
    last = events[-1]
    assert last[:2] == (3, 3)
    assert last[2]["num_groups"] == 1
    assert last[2]["seconds"] > 0


def test_interruption_leaves_by_the_progress_callback(data):
    def stop(epoch, epochs, info):
        if epoch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        va.sweep(BUILD, ["elbo"], data, seeds=[0], epochs=3, progress=stop)


def test_early_stopping_keeps_the_best_and_stops_each_run_by_itself(data):
    """The schedule turns round after 4 epochs, so that the faster run worsens; the other hardly moves."""
    turn = lambda epoch, epochs: 1.0 if epoch < 4 else -1.0  # noqa: E731
    stopped = va.sweep(
        BUILD,
        ["autoencoder"],
        data,
        seeds=[0],
        epochs=20,
        learning_rate=[3e-3, 1e-3],
        patience=2,
        schedule=turn,
    )
    assert not stopped.settings["diverged"].any()
    for model, (_, rows) in zip(
        stopped.models, stopped.history.groupby("learning_rate", sort=False), strict=True
    ):
        held = rows["validation_objective_value"].to_numpy()
        assert len(held) == np.argmax(held) + 1 + 2 < 20
        kept = va.objectives.score(model, "autoencoder", data.validation).mean.value
        assert kept == pytest.approx(held.max(), rel=1e-5)
        assert kept > held[-1] + 0.01


def test_what_is_refused(data):
    grey = va.load_data("digits", form="grey")
    with pytest.raises(SupportError, match="binarise='dynamic'"):
        va.sweep(BUILD, ["elbo"], grey, epochs=1)
    with pytest.raises(SupportError, match="Rescale"):
        va.fit(BUILD(0), "elbo", 3 * data.train, epochs=1)
    for arguments in (
        {"epochs": 0}, {"batch_size": 0}, {"learning_rate": -1.0}, {"learning_rate": float("nan")},
        {"binarise": "yes"}, {"mode": "pmap"}, {"schedule": "linear"}, {"seeds": []}, {"objectives": []},
        {"patience": 0}, {"objectives": ["learned_scale"]}, {"objectives": ["elbow"]},
    ):  # fmt: skip
        settings = {"objectives": ["elbo"], "epochs": 1, **arguments}
        with pytest.raises(ArgumentError):
            va.sweep(BUILD, settings.pop("objectives"), data, **settings)
    with pytest.raises(ArgumentError, match="validation"):
        va.fit(BUILD(0), "elbo", data.train, epochs=1, patience=3)
    with pytest.raises(ShapeError):
        va.fit(BUILD(0), "elbo", np.zeros(5, np.float32), epochs=1)
    functions = va.vae(encode=lambda x: (x, x), log_likelihood=lambda x, z: z.sum(-1), latent_dim=1)
    with pytest.raises(ArgumentError, match="nothing to train"):
        va.fit(functions, "elbo", jnp.ones((4, 1)), epochs=1)


def test_a_plain_array_has_no_validation_columns_filled(data):
    history = va.fit(BUILD(0), "elbo", data.train, epochs=1).history
    assert history["validation_elbo"].isna().all()
    assert np.isfinite(history["elbo"]).all()
