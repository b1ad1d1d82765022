"""The study of the published table: objectives, schedule, judgement, and a tiny run from end to end."""

import math
import sys

import jax
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import vaeaudit as va
from vaeaudit.core.errors import DataMissingError
from vaeaudit.study.find import load_study, studies_folder
from vaeaudit.study.runner import run_study

sys.path.insert(0, str(studies_folder()))
import _published_findings as findings
import _published_model as parts  # beside the study's script
import _published_tables as tables

sys.path.pop(0)

FULL = load_study("published_tables").presets["full"]
TINY = {
    "draws": [1],
    "seeds": [0],
    "growth": 1.0,
    "hidden": [8],
    "latent_dim": 2,
    "num_train": 200,
    "num_test": 12,
    "bound_samples": 200,
    "num_evidence": 4,
    "redraws": 2,
}


def test_published_values_are_those_of_the_paper():
    nll = {(model, k): value for model, k, value, _ in parts.PUBLISHED}
    units = {(model, k): count for model, k, _, count in parts.PUBLISHED}
    assert [nll["VAE", k] for k in (1, 5, 50)] == [86.76, 86.47, 86.35]
    assert [nll["IWAE", k] for k in (1, 5, 50)] == [86.76, 85.54, 84.78]
    assert [units["VAE", k] for k in (1, 5, 50)] == [19, 20, 20]
    assert [units["IWAE", k] for k in (1, 5, 50)] == [19, 22, 25]


def test_full_preset_is_the_papers_and_others_are_not():
    assert parts.full_schedule(FULL)
    assert findings.shortcomings(FULL) == []
    for name, value in (
        ("growth", 1.0), ("num_train", 1000), ("batch_size", 100), ("latent_dim", 20), ("num_test", 500),
        ("bound_samples", 100), ("data", "digits"),
    ):  # fmt: skip
        assert not parts.full_schedule({**FULL, name: value}), name
        assert findings.shortcomings({**FULL, name: value}), name


def test_schedule_has_the_papers_passes_and_rates():
    passes, factor = parts.schedule(3.0)
    assert passes == sum(3**i for i in range(8)) == 3280
    rates = [factor(epoch, passes) for epoch in range(passes)]
    expected = np.repeat(10.0 ** (-np.arange(8) / 7), 3 ** np.arange(8))
    np.testing.assert_allclose(rates, expected, rtol=1e-12)
    assert parts.schedule(1.0)[0] == 8


def test_sampled_elbo_is_the_mean_log_weight():
    rng = np.random.default_rng(0)
    ll, lp, lq = (rng.normal(size=(4, 3)).astype(np.float32) for _ in range(3))

    def terms(k):
        unused = dict.fromkeys(
            ("z", "loc", "scale", "prior_z", "head_weight_sq", "decoder_weight_sq", "progress", "num_data"),
            0.0,
        )
        return va.objectives.Terms(log_likelihood=ll[:k], log_prior=lp[:k], log_q=lq[:k], **unused)

    np.testing.assert_allclose(parts.SampledELBO(4)(terms(4)), (ll + lp - lq).mean(0), rtol=1e-6)
    np.testing.assert_allclose(parts.SampledELBO(1)(terms(1)), va.objectives.iwae(1)(terms(1)), rtol=1e-6)


def test_output_bias_is_the_logit_of_the_data_mean():
    mean = np.array([[0.2, 0.9], [0.0, 1.0]])
    model = parts.build(0, event_shape=(2, 2), latent_dim=3, hidden=(5, 4), data_mean=mean)
    logits = model.decode(np.zeros((1, 1, 3), np.float32))[0, 0]  # biases of hidden layers are 0, tanh(0) = 0
    np.testing.assert_allclose(jax.nn.sigmoid(logits), np.clip(mean, 0.001, 0.999), rtol=1e-4)


def _models(values, redraw_sd=0.1, units=20):
    """One row per model and seed; ``values`` maps (model, draws) to the bounds of its seeds."""
    rows = [
        {"model": name, "draws": k, "seed": seed, "diverged": False, "bound": -value, "redraw_sd": redraw_sd,
         "units_published_definition": units}
        for (name, k), seeds in values.items()
        for seed, value in enumerate(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


SPREAD = np.array([-0.1, 0.0, 0.1])


def test_agreement_is_judged_by_the_range_of_one_more_run():
    published = {(m, k): v for m, k, v, _ in parts.PUBLISHED if (m, k) != ("IWAE", 1)}
    shift = dict.fromkeys(published, 0.3) | {("IWAE", 50): 2.0}
    models = _models({key: published[key] + shift[key] + SPREAD for key in published})
    table = tables.published_table(FULL, models).set_index("row")
    # independent: prediction interval of a fourth run, another binarisation on both sides
    sd = SPREAD.std(ddof=1)
    half = stats.t.ppf(0.975, 2) * math.sqrt(sd**2 * (1 + 1 / 3) + 2 * 0.1**2)
    row = table.loc["VAE, k = 5"]
    assert row["run_upper"] - row["nll_bound"] == pytest.approx(half)
    assert row["upper"] - row["nll_bound"] == pytest.approx(stats.t.ppf(0.975, 2) * sd / math.sqrt(3))
    assert half > 0.3
    assert (table["agrees"] == "yes").sum() == 5
    assert table.loc["IWAE, k = 50", "agrees"] == "no"
    assert table.loc["IWAE, k = 1", "nll_bound"] == table.loc["VAE, k = 1", "nll_bound"]
    np.testing.assert_array_equal(table["published_rank"], [5, 4, 3, 5, 2, 1])
    short = tables.published_table({**FULL, "growth": 1.0}, models)
    assert set(short["agrees"]) == {"not judged"}
    alone = tables.published_table({**FULL, "seeds": [0]}, models[models["seed"] == 0])
    assert set(alone["agrees"]) == {"not judged"}


def test_order_of_rows_is_judged_in_pairs_over_seeds():
    published = {(m, k): v for m, k, v, _ in parts.PUBLISHED if (m, k) != ("IWAE", 1)}
    right = tables.order_table(FULL, _models({key: v + SPREAD for key, v in published.items()}), {})
    assert len(right) == 10
    assert (right["verdict"] == "supported").all()  # seeds shift all rows alike: the pairing removes it
    np.testing.assert_allclose(right["here"], right["published"], atol=1e-9)
    swapped = {**published, ("IWAE", 50): 90.0}
    wrong = tables.order_table(FULL, _models({key: v + SPREAD for key, v in swapped.items()}), {})
    assert (wrong[wrong["better"] == "IWAE, k = 50"]["verdict"] == "contradicted").all()
    noisy = {key: v + (SPREAD if key[0] == "VAE" else -40 * SPREAD) for key, v in published.items()}
    open_ = tables.order_table(FULL, _models(noisy), {}).set_index(["better", "than"])["verdict"]
    assert open_["IWAE, k = 5", "VAE, k = 50"] == "undecided"


def test_one_seed_compares_rows_image_by_image():
    values = {("VAE", 1): [90.0], ("VAE", 5): [89.0]}
    x = np.random.default_rng(0).normal(-90.0, 20.0, 400)
    results = {
        "measure k=1": va.CellResult(arrays={"bound VAE 0": x}),
        "measure k=5": va.CellResult(arrays={"bound VAE 0": x + 1.0}),
    }
    settings = {**FULL, "draws": [1, 5], "seeds": [0]}
    models = _models(values)
    row = (
        tables.order_table(settings, models, results)
        .set_index(["better", "than"])
        .loc["VAE, k = 5", "VAE, k = 1"]
    )
    assert row["here"] == pytest.approx(1.0)
    assert row["verdict"] == "supported"


def test_a_tiny_run_says_that_it_reproduces_nothing(tmp_path):
    study = load_study("published_tables")
    result = run_study(study, "quick", tmp_path, overrides=TINY)
    assert result.computed == 2
    assert result.html.exists()
    assert result.verdict.startswith("Not a reproduction")
    summary = result.summary.set_index("row")
    assert list(summary.index) == ["VAE, k = 1", "IWAE, k = 1"]
    assert set(summary["agrees"]) == {"not judged"}
    models = pd.read_csv(tmp_path / "tables" / "models.csv")
    assert (models["bound"] < 0).all()
    # L_200 on four images cannot lie far above annealing's log p(x) on the same ones
    assert (models["bound_there"] < models["ais"] + 1.0).all()
    again = run_study(study, "quick", tmp_path, overrides=TINY, report=False)
    assert again.computed == 0
    assert again.summary.equals(result.summary)


def test_missing_mnist_is_an_error_with_its_remedy(tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("VAEAUDIT_DATA_DIR", str(empty))
    monkeypatch.setenv("VAEAUDIT_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(DataMissingError, match=r"train-images-idx3-ubyte.*--data-dir.*VAEAUDIT_DATA_DIR"):
        run_study(load_study("published_tables"), "standard", tmp_path / "out", overrides={"download": False})
    assert not list((tmp_path / "out").rglob("*.html"))
