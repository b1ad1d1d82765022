"""Coverage of the brackets over 1,000 replications: linear-Gaussian models and Gaussian mixtures.

The slow tests append their rows to ``coverage.csv`` in the folder named by ``VAEAUDIT_COVERAGE_DIR``, if any.
"""

import csv
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import beta, norm

from vaeaudit.core.records import Bracket
from vaeaudit.estimators.aggregate_posterior import aggregate_posterior

QUANTITIES = ("rate", "mutual_information", "marginal_kl", "total_correlation", "dimwise_kl")


class LinearGaussian:
    """Loc ~ N(m, A Aᵀ), constant scale; every quantity in closed form."""

    def __init__(self, mean, root, scale):
        self.mean, self.root, self.scale = mean, root, scale
        cov = root @ root.T + np.diag(scale**2)
        variance, log_det = np.diag(cov), np.linalg.slogdet(cov)[1]
        rate = 0.5 * (np.sum(variance + mean**2 - 1) - 2 * np.log(scale).sum())
        information = 0.5 * log_det - np.log(scale).sum()
        correlation = 0.5 * (np.log(variance).sum() - log_det)
        values = rate, information, rate - information, correlation, rate - information - correlation
        self.truth = dict(zip(QUANTITIES, map(float, values), strict=True))

    def draw(self, num_data, seed):
        noise = np.random.default_rng(seed).normal(size=(num_data, len(self.scale)))
        return noise @ self.root.T + self.mean, np.tile(self.scale, (num_data, 1))


class Mixture:
    """x picks one of three posteriors: q(z) is a mixture of three, its KL a quadrature in 1 or 2 dimensions."""

    weight = np.array([0.3, 0.5, 0.2])

    def __init__(self, loc, scale):
        self.loc, self.scale = np.array(loc), np.array(scale)
        node, mass = np.polynomial.legendre.leggauss(20)
        edges = np.linspace(-9, 9, 73)
        half = 0.5 * np.diff(edges)
        grid = (0.5 * (edges[1:] + edges[:-1])[:, None] + half[:, None] * node).ravel()
        grid_mass = (half[:, None] * mass).ravel()
        single = norm.logpdf(grid[:, None, None], self.loc, self.scale)  # (node, component, latent)
        marginal_q = logsumexp(single, axis=1, b=self.weight[:, None])
        dimwise = float(np.sum(grid_mass @ (np.exp(marginal_q) * (marginal_q - norm.logpdf(grid)[:, None]))))
        if self.loc.shape[1] == 1:
            marginal = dimwise
        else:
            joint = single[:, None, :, 0] + single[None, :, :, 1]
            log_q = logsumexp(joint, axis=2, b=self.weight)
            log_p = norm.logpdf(grid)[:, None] + norm.logpdf(grid)
            marginal = float(grid_mass @ (np.exp(log_q) * (log_q - log_p)) @ grid_mass)
        per_component = 0.5 * (self.loc**2 + self.scale**2 - 1 - 2 * np.log(self.scale)).sum(1)
        rate = float(self.weight @ per_component)
        values = rate, rate - marginal, marginal, marginal - dimwise, dimwise
        self.truth = dict(zip(QUANTITIES, values, strict=True))

    def draw(self, num_data, seed):
        pick = np.random.default_rng(seed).choice(3, size=num_data, p=self.weight)
        return self.loc[pick], self.scale[pick]


def correlated(latent):
    rng = np.random.default_rng(99)
    root, scale = rng.normal(size=(latent, latent)) * 0.5, rng.uniform(0.3, 0.8, latent)
    return LinearGaussian(np.full(latent, 0.3), root, scale)


def twenty_four_nats():
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))[0]
    root = rotation * np.sqrt(np.linspace(0.2, 1.4, 20))
    return LinearGaussian(np.full(20, 0.3), root, np.full(20, 0.25))


# name: (problem, data per replication, draws per datum)
PROBLEMS = {
    "linear 2": (correlated(2), 300, 2),
    "linear 5": (correlated(5), 300, 2),
    "linear 20, saturated": (twenty_four_nats(), 1000, 1),
    "mixture 1": (Mixture([[-2.0], [0.5], [1.5]], [[0.3], [0.8], [0.15]]), 300, 2),
    "mixture 2": (
        Mixture([[-2.0, -1.0], [0.5, 0.0], [1.5, 2.0]], [[0.3, 0.9], [0.8, 0.5], [0.25, 0.3]]),
        300,
        2,
    ),
}
WIDE = LinearGaussian(np.array([0.2, 0.0]), np.array([[0.8, 0.0], [0.3, 0.6]]), np.array([0.5, 0.7]))
PROBLEMS["linear 2, 10,000 data"] = (WIDE, 10_000, 2)


def ends(value):
    return value.interval if isinstance(value, Bracket) else (value.lower, value.upper)


def replicate(task):
    """Intervals (replication, quantity, 2) and the saturated flags, for seeds of one problem."""
    name, seeds, fits = task
    problem, num_data, samples = PROBLEMS[name]
    intervals, saturated = [], []
    for seed in seeds:
        pair = problem.draw(num_data, 1000 + seed)
        result = aggregate_posterior(pair, rng_key=seed, num_samples=samples, fits=fits)
        intervals.append([ends(value) for value in result.quantities().values()])
        saturated.append(result.saturated)
    return np.array(intervals), np.array(saturated)


def tabulate(name, intervals, saturated, seconds):
    """One row per quantity: how often it was missed and on which side, and how wide its bracket was."""
    problem, num_data, samples = PROBLEMS[name]
    count = len(intervals)
    rows = []
    for k, quantity in enumerate(QUANTITIES):
        low, high = intervals[:, k].T
        truth = problem.truth[quantity]
        above, below = int(np.sum(low - 1e-9 > truth)), int(np.sum(high + 1e-9 < truth))
        missed = above + below
        rows.append(
            {
                "problem": name,
                "quantity": quantity,
                "num_data": num_data,
                "samples_per_datum": samples,
                "replications": count,
                "truth": round(truth, 4),
                "bracket_above_truth": above,
                "bracket_below_truth": below,
                "coverage": round(1 - missed / count, 4),
                "coverage_at_least": round(float(beta.ppf(0.025, count - missed, missed + 1)), 4),
                "mean_width": round(float(np.mean(high - low)), 4),
                "largest_width": round(float(np.max(high - low)), 4),
                "smallest_lower_end": round(float(low.min()), 4),
                "saturated": round(float(saturated.mean()), 4),
                "seconds": round(seconds, 1),
            }
        )
    return rows


def write_rows(rows):
    folder = os.environ.get("VAEAUDIT_COVERAGE_DIR")
    if not folder:
        return
    path = Path(folder) / "coverage.csv"
    old = list(csv.DictReader(path.open())) if path.exists() else []
    kept = [row for row in old if row["problem"] != rows[0]["problem"]] + rows
    order = list(PROBLEMS)
    kept.sort(key=lambda row: (order.index(row["problem"]), QUANTITIES.index(row["quantity"])))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)


def run(name, replications, fits="all"):
    """Replications split over two processes, since one of these problems does not fill two cores."""
    start = time.perf_counter()
    halves = [(name, range(side, replications, 2), fits) for side in (0, 1)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        parts = pool.map(replicate, halves)
    intervals, saturated = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    return tabulate(name, intervals, saturated, time.perf_counter() - start)


@pytest.mark.parametrize("name", ["linear 2", "mixture 2"])
def test_brackets_cover_in_sixty_replications(name):
    """At a true coverage of 85 % nine misses are expected; at 95 %, three."""
    rows = tabulate(name, *replicate((name, range(60), "moments")), 0.0)
    assert all(row["bracket_above_truth"] + row["bracket_below_truth"] <= 8 for row in rows), rows


def test_truths_by_a_second_quadrature():
    """The mixture's truth by Simpson's rule on a grid of its own, and the closed form's identity."""
    from scipy.integrate import simpson

    problem = PROBLEMS["mixture 2"][0]
    grid = np.linspace(-7.5, 7.5, 1501)
    single = norm.logpdf(grid[:, None, None], problem.loc, problem.scale)
    log_q = logsumexp(single[:, None, :, 0] + single[None, :, :, 1], axis=2, b=problem.weight)
    ratio = log_q - norm.logpdf(grid)[:, None] - norm.logpdf(grid)
    total = simpson(simpson(np.exp(log_q) * ratio, x=grid), x=grid)
    assert abs(total - problem.truth["marginal_kl"]) < 1e-7
    for problem, *_ in PROBLEMS.values():
        t = problem.truth
        assert abs(t["rate"] - t["mutual_information"] - t["total_correlation"] - t["dimwise_kl"]) < 1e-9
        assert min(t.values()) >= 0
    assert 24 < PROBLEMS["linear 20, saturated"][0].truth["mutual_information"] < 26


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PROBLEMS))
def test_brackets_cover_in_a_thousand_replications(name):
    """An exact 95 % interval misses 50 times of 1,000, standard error 6.9; brackets should do better.

    With 10,000 data, 200 replications: there the width is the question, and 16 misses are 2.4 standard
    errors above ten.
    """
    many = "10,000" not in name
    rows = run(name, 1000 if many else 200)
    write_rows(rows)
    for row in rows:
        assert row["coverage"] >= (0.95 if many else 0.92), row
    by_name = {row["quantity"]: row for row in rows}
    if "saturated" in name:
        assert by_name["marginal_kl"]["saturated"] == 1.0
        assert by_name["marginal_kl"]["smallest_lower_end"] > 0.5 * by_name["marginal_kl"]["truth"]
    if "10,000" in name:
        assert by_name["marginal_kl"]["saturated"] == 0.0
        assert max(by_name[q]["largest_width"] for q in QUANTITIES[1:]) <= 0.05
