"""Disentanglement scores from known factors: MIG, DCI and SAP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import entropy, t

from vaeaudit.core.arrays import as_float_array, check_count
from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.core.records import Estimate

Floats = np.ndarray
SCORES = ("mig", "disentanglement", "completeness", "informativeness", "sap")


@dataclass(frozen=True)
class DisentanglementScores:
    """Scores in [0, 1] of one model's codes; larger is better.

    ``mutual_information`` (factor, latent) in nats and ``importance`` (latent, factor) are what MIG and DCI
    are made of.
    """

    mig: float
    disentanglement: float
    completeness: float
    informativeness: float
    sap: float
    mutual_information: Floats
    importance: Floats

    def row(self) -> dict[str, float]:
        """The five scores by name."""
        return {name: float(getattr(self, name)) for name in SCORES}


def disentanglement(
    loc: Any,
    factors: Any,
    *,
    num_bins: int = 20,
    max_data: int = 3_000,
    seed: int = 0,
) -> DisentanglementScores:
    r"""Mutual information gap, DCI and SAP of posterior means against discrete factors.

    MIG = mean_k [I(z_(1); v_k) − I(z_(2); v_k)]/H(v_k)

    Parameters
    ----------
    loc
        Posterior means (batch, latent).
    factors
        Factor labels as integers (batch, factor).
    num_bins
        Bins of each latent for its mutual information with a factor.
    max_data
        Data used, drawn at random without replacement.
    seed
        Of the draw, the split and the classifiers.

    Returns
    -------
    DisentanglementScores

    Raises
    ------
    ShapeError
        If the arrays do not fit together or there are fewer than 100 data.
    ArgumentError
        If a factor is constant.

    Notes
    -----
    MIG's mutual information comes from histograms with equal counts and is biased upward by about
    (bins − 1)(values − 1)/2N nats for every latent alike, which the gap mostly removes. DCI takes the feature
    importances of random forests, one per factor, and held-out accuracy as
    informativeness. SAP is the gap in held-out balanced accuracy between the two best single-latent linear
    classifiers. All three depend on choices of this kind: compare models under one implementation only.

    References
    ----------
    Chen et al. (2018), section 4.1 (MIG); Eastwood & Williams (2018), section 2 (DCI); Kumar et al. (2018),
    section 3 (SAP); Locatello et al. (2019), appendix C, for the variants in use.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> factors = rng.integers(4, size=(600, 2))
    >>> scores = disentanglement(factors + 0.01 * rng.normal(size=(600, 2)), factors)
    >>> scores.mig > 0.9, scores.sap > 0.3
    (True, True)
    """
    loc = np.asarray(as_float_array("loc", loc, ndim=2), np.float64)
    factors = np.asarray(factors)
    num_bins = check_count("num_bins", num_bins, minimum=2)
    if factors.ndim != 2 or factors.shape[0] != loc.shape[0] or not np.issubdtype(factors.dtype, np.integer):
        raise ShapeError(
            f"`factors` must hold integers (batch, factor) for loc {loc.shape}; got {factors.dtype} of shape "
            f"{factors.shape}."
        )
    if loc.shape[0] < 100:
        raise ShapeError(f"disentanglement scores need at least 100 data; got {loc.shape[0]}.")
    keep = np.random.default_rng(seed).permutation(loc.shape[0])[:max_data]
    loc, factors = loc[keep], factors[keep]
    for k in range(factors.shape[1]):
        if np.unique(factors[:, k]).size < 2:
            raise ArgumentError(f"factor {k} is constant: nothing can depend on it. Leave it out.")
    information = factor_information(loc, factors, num_bins)
    importance, accuracy = forest_importance(loc, factors, seed)
    return DisentanglementScores(
        mig=mutual_information_gap(information, factors),
        disentanglement=_weighted_certainty(importance),
        completeness=float(np.mean(_certainty(importance.T))),
        informativeness=accuracy,
        sap=attribute_gap(loc, factors, seed),
        mutual_information=information,
        importance=importance,
    )


def factor_information(loc: Floats, factors: Floats, num_bins: int) -> Floats:
    """I(z_j; v_k) in nats from histograms with equal counts, (factor, latent)."""
    out = np.zeros((factors.shape[1], loc.shape[1]))
    for j in range(loc.shape[1]):
        edges = np.unique(np.quantile(loc[:, j], np.linspace(0, 1, num_bins + 1)[1:-1]))
        binned = np.searchsorted(edges, loc[:, j])
        for k in range(factors.shape[1]):
            table = pd.crosstab(binned, factors[:, k]).to_numpy(np.float64)
            out[k, j] = entropy(table.sum(0)) + entropy(table.sum(1)) - entropy(table.ravel())
    return np.maximum(out, 0.0)


def factor_entropy(factors: Floats) -> Floats:
    """H(v_k) in nats, (factor,)."""
    return np.array([entropy(np.unique(column, return_counts=True)[1]) for column in factors.T])


def mutual_information_gap(information: Floats, factors: Floats) -> float:
    """Mean over factors of the gap between the two most informative latents, in units of the entropy."""
    if information.shape[1] == 1:
        top = information[:, 0]
        return float(np.mean(top / factor_entropy(factors)))
    ordered = np.sort(information, axis=1)
    return float(np.mean((ordered[:, -1] - ordered[:, -2]) / factor_entropy(factors)))


def forest_importance(loc: Floats, factors: Floats, seed: int) -> tuple[Floats, float]:
    """Feature importances (latent, factor) of one forest per factor, and mean held-out accuracy."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import train_test_split

    importance = np.zeros((loc.shape[1], factors.shape[1]))
    accuracy = []
    for k in range(factors.shape[1]):
        split = train_test_split(loc, factors[:, k], test_size=0.3, random_state=seed)
        forest = RandomForestClassifier(50, min_samples_leaf=5, max_features=None, random_state=seed).fit(
            split[0], split[2]
        )
        importance[:, k] = forest.feature_importances_
        accuracy.append(forest.score(split[1], split[3]))
    return importance, float(np.mean(accuracy))


def _certainty(weights: Floats) -> Floats:
    """1 − entropy of each row, in units of log(columns); 1 for one column."""
    if weights.shape[1] == 1:
        return np.ones(weights.shape[0])
    total = weights.sum(1, keepdims=True)
    share = np.divide(weights, total, out=np.full_like(weights, 1.0 / weights.shape[1]), where=total > 0)
    return 1.0 - entropy(share, axis=1) / np.log(weights.shape[1])


def _weighted_certainty(importance: Floats) -> float:
    """DCI's disentanglement: certainty of each latent about its factor, weighted by its importance."""
    weight = importance.sum(1)
    return float(np.sum(_certainty(importance) * weight) / weight.sum()) if weight.sum() > 0 else 0.0


def attribute_gap(loc: Floats, factors: Floats, seed: int) -> float:
    """SAP: mean gap in held-out balanced accuracy between the two best latents, each alone."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import train_test_split

    varies = loc.std(0) > 1e-9
    gaps = []
    for k in range(factors.shape[1]):
        train, test, train_v, test_v = train_test_split(loc, factors[:, k], test_size=0.3, random_state=seed)
        chance = 1.0 / np.unique(factors[:, k]).size
        score = np.full(loc.shape[1], chance)
        for j in np.flatnonzero(varies):
            one = LinearDiscriminantAnalysis().fit(train[:, j : j + 1], train_v)
            score[j] = balanced_accuracy_score(test_v, one.predict(test[:, j : j + 1]))
        best = np.sort(score)
        gaps.append(best[-1] - (best[-2] if best.size > 1 else chance))
    return float(np.mean(gaps))


def over_seeds(scores: Sequence[DisentanglementScores]) -> dict[str, Estimate]:
    """Mean of each score over models trained from different seeds, with a Student-t interval.

    Raises
    ------
    ArgumentError
        If there are fewer than two models: one seed has no interval.
    """
    if len(scores) < 2:
        raise ArgumentError(f"an interval over seeds needs at least 2 models; got {len(scores)}.")
    found = {}
    for name in SCORES:
        values = np.array([getattr(s, name) for s in scores])
        se = float(values.std(ddof=1) / np.sqrt(values.size))
        half = float(t.isf(0.025, values.size - 1)) * se
        value = float(values.mean())
        found[name] = Estimate(
            value, se, value - half, value + half, unit="", note=f"over {values.size} seeds, Student t"
        )
    return found
