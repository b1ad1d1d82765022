"""log p(x) − ELBO on average, from estimates of both that are at hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vaeaudit.core.errors import ShapeError
from vaeaudit.core.records import Estimate
from vaeaudit.estimators.evidence_result import LogEvidence
from vaeaudit.estimators.rate_distortion import RateDistortion, Target, average, check_target
from vaeaudit.estimators.reliability import Floats


def mean_inference_gap(
    evidence: LogEvidence | np.ndarray, spread: RateDistortion, target: Target = "population"
) -> Estimate:
    r"""Mean of log p(x) − ELBO over the data, from per-datum differences.

    .. math:: \frac1N \sum_i \left(\log p(x_i) - \mathrm{ELBO}(x_i)\right)

    Parameters
    ----------
    evidence
        Of `log_evidence` on some data, or exact values of log p(x), (batch,).
    spread
        Of `rate_distortion` on the same data.
    target
        "population" covers the mean over what the data are a sample of, "data" their own.

    Returns
    -------
    Estimate
        In nats. Where log p(x) is only bounded from below, so is the gap, without an interval.

    Raises
    ------
    ArgumentError, ShapeError

    Notes
    -----
    The difference of a datum varies far less than log p(x) or the ELBO does: an interval from the two
    means' own errors would be too wide by that. A gap is not negative, and neither is a lower end of one
    that was estimated positive. The bias is that of log p(x), within ``bias_bound``; none where it is exact.

    References
    ----------
    Cremer, Li & Duvenaud (2018), eq. 5.

    Examples
    --------
    >>> import numpy as np
    >>> import vaeaudit as va
    >>> model = va.LinearGaussianVAE.optimal(np.array([[1.0], [0.5]]), np.zeros(2), 1.0)
    >>> x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    >>> spread = va.rate_distortion(model, x, num_samples=400)
    >>> gap = va.mean_inference_gap(model.exact_log_evidence(x), spread)
    >>> bool(gap.value < 3 * gap.se)  # the encoder is the exact posterior
    True
    """
    check_target(target)
    if len(evidence) != len(spread.per_datum):
        raise ShapeError(
            f"`evidence` and `spread` must be of the same data; got {len(evidence)} and {len(spread.per_datum)} "
            "data. Pass both the same x."
        )
    elbo, elbo_se = (spread.per_datum[name].to_numpy() for name in ("elbo", "elbo_se"))
    return gap_estimate(evidence, elbo, elbo_se, target)


def gap_estimate(
    evidence: LogEvidence | np.ndarray, elbo: Floats, elbo_se: Floats, target: Target
) -> Estimate:
    """`mean_inference_gap` from the ELBO of each datum and its Monte-Carlo standard error."""
    bias_bound, num_samples = 0.0, None
    if isinstance(evidence, LogEvidence):
        here = evidence.mean
        num_samples = here.num_samples
        if not here.has_interval:
            value = here.value - float(np.mean(elbo))
            note = f"log p(x): {here.note}"
            return Estimate.refused(here.verdict, note, value, num_data=len(elbo), num_samples=num_samples)
        if math.isfinite(here.bias_bound):
            bias_bound = here.bias_bound
        difference, se = evidence.value - evidence.bias - elbo, np.hypot(evidence.se, elbo_se)
    else:
        difference, se = np.asarray(evidence, np.float64) - elbo, elbo_se
    if not np.isfinite(difference).all():
        return Estimate.refused("unreliable", "the model returned NaN on some data", num_data=len(elbo))
    mean = average(difference, se, target, num_samples, "log p(x) − ELBO per datum")
    if not mean.has_interval:
        return mean
    lower = mean.lower - bias_bound
    if mean.value >= 0:
        lower = max(lower, 0.0)
    return replace(mean, lower=lower, upper=mean.upper + bias_bound, bias_bound=bias_bound)
