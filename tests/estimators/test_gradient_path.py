"""Alignment along a run whose optimum is known, and the epoch at which climbing stops."""

import numpy as np
import pandas as pd
import pytest

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError
from vaeaudit.estimators.alignment_path import alignment_along_training, stops_climbing


def test_snapshots_between_start_and_ppca_optimum():
    """On the way to the pPCA optimum the ELBO climbs log p(x); at it log p(x) is stationary."""
    rng = np.random.default_rng(0)
    cov = np.diag([4.0, 2.0, 0.5, 0.5])
    x = rng.multivariate_normal(np.zeros(4), cov, 400)
    x -= x.mean(0)
    best = va.LinearGaussianVAE.ppca(np.cov(x.T, bias=True), 1)

    def between(t):
        w = np.asarray(best.weight) * t + 0.1 * (1 - t)
        return va.LinearGaussianVAE.optimal(w, np.zeros(4), float(best.noise_scale) * (2 - t))

    path = alignment_along_training(
        "elbo", [(t, between(t)) for t in (0.0, 0.5, 1.0)], x, ("log_evidence", "elbo"), num_samples=16
    )
    rows = path[(path.target == "log_evidence") & (path.parameters == "theta")]
    assert rows["epoch"].tolist() == [0.0, 0.5, 1.0]
    assert (rows["lower"].iloc[:2] > 0.9).all()
    assert rows["verdict"].iloc[2] != "ok"
    stop = stops_climbing(path).iloc[0]
    assert (stop["last_climbing"], stop["first_not_climbing"]) == (0.5, 1.0)
    assert not stop["descends"]


def test_stopping_rule_on_made_up_rows():
    rows = [
        ("a", 0, 1.0, 2.0), ("a", 1, -0.1, 0.2), ("a", 2, 0.3, 0.4), ("a", 3, -2.0, -1.0),
        ("b", 0, 1.0, 2.0), ("b", 1, 0.5, 0.6),
        ("c", 0, np.nan, np.nan),
    ]  # fmt: skip
    path = pd.DataFrame(rows, columns=["objective", "epoch", "climb_lower", "climb_upper"])
    path = path.assign(target="log_evidence", parameters="theta", verdict="ok", note="")
    stop = stops_climbing(path).set_index("objective")
    assert stop.loc["a", ["last_climbing", "first_not_climbing", "descends"]].tolist() == [2, 3, True]
    assert stop.loc["b", "last_climbing"] == 1
    assert np.isnan(stop.loc["b", "first_not_climbing"])
    assert np.isnan(stop.loc["c", "last_climbing"])
    assert stop.loc["c", "first_not_climbing"] == 0


def test_an_unreliable_snapshot_is_no_stop():
    path = pd.DataFrame(
        {"epoch": [0, 1, 2], "climb_lower": [1.0, np.nan, 0.5], "climb_upper": [2.0, np.nan, 0.9]}
    )
    path = path.assign(
        objective="a", target="log_evidence", parameters="theta", verdict=["ok", "unreliable", "ok"], note=""
    )
    whole, cut = stops_climbing(path).iloc[0], stops_climbing(path.iloc[:2]).iloc[0]
    assert (whole["last_climbing"], whole["num_unreliable"]) == (2, 1)
    assert cut["last_climbing"] == 0
    assert np.isnan(cut["first_not_climbing"])
    assert cut["final_verdict"] == "unreliable"


def test_errors():
    with pytest.raises(ArgumentError, match="empty"):
        alignment_along_training("elbo", [], np.zeros((2, 2)))
    with pytest.raises(ArgumentError, match="climb_lower"):
        stops_climbing(pd.DataFrame({"epoch": [0]}))
