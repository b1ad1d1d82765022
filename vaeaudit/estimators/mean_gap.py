"""log p(x) − ELBO on average, from estimates of both that are at hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vaeaudit.core.errors import ShapeError
from vaeaudit.core.records import Z95, Estimate
from vaeaudit.estimators.evidence_result import LogEvidence
from vaeaudit.estimators.rate_distortion import RateDistortion, Target, check_target


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
    elbo, elbo_se = (spread.per_datum[name].to_numpy() for name in ("elbo", "elbo_se"))
    n = len(evidence)
    if n != len(elbo):
        raise ShapeError(
            f"`evidence` and `spread` must be of the same data; got {n} and {len(elbo)} data. Pass both the same x."
        )
    fields: dict[str, Any] = {"num_data": n}
    if isinstance(evidence, LogEvidence):
        here = evidence.mean
        fields["num_samples"] = here.num_samples
        if not here.has_interval:
            return Estimate.refused(
                here.verdict, f"log p(x): {here.note}", here.value - spread.elbo.value, **fields
            )
        difference = evidence.value - evidence.bias - elbo
        evidence_se, bias_bound = evidence.se, here.bias_bound
    else:
        difference = np.asarray(evidence, np.float64) - elbo
        evidence_se, bias_bound = np.zeros(n), 0.0
    noise = math.sqrt(float(np.sum(evidence_se**2 + elbo_se**2))) / n
    sampling = float(np.std(difference, ddof=1)) / math.sqrt(n) if target == "population" and n > 1 else 0.0
    se = max(noise, sampling)  # the spread over data holds the noise already
    value = float(np.mean(difference))
    half = Z95 * se + (bias_bound if math.isfinite(bias_bound) else 0.0)
    return Estimate(
        value=value,
        se=se,
        lower=max(value - half, 0.0) if value >= 0 else value - half,
        upper=value + half,
        bias_bound=bias_bound,
        note="log p(x) − ELBO per datum",
        **fields,
    )
