# ruff: noqa: E501
"""What the tables of the study on scaling the KL say, in plain words."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from _claims import claim_findings
from _kl_scale_tables import claims

import vaeaudit as va
from vaeaudit.report import Finding

PIXELS = 64


def findings(frames: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """What the tables say, in plain words."""
    found = claim_findings(claims(frames))
    models = frames["models"]
    weights = models[models["part"] == "weights"]
    sound = weights[weights["weight"] == 0.1]
    if len(sound) and sound["elbo_implied"].notna().all():
        gain = (sound["elbo_implied"] - sound["elbo_nominal"]).mean()
        found.append(
            Finding(
                "warn",
                f"Read with the variance it implies (0.05), the model trained with 0.1·KL has an ELBO {abs(gain):.1f} nats "
                f"per picture {'higher' if gain > 0 else 'lower'} than read with the nominal one (0.5).",
                "0.1·KL beside ‖x−x̂‖² is exactly the ELBO of a decoder with a tenth of the variance, times 0.1.",
                "Report log p(x) with the implied variance β s²; numbers at the nominal one are not comparable.",
            )
        )
    ends = frames["ends"]
    if len(ends) and ends["difference"].notna().any():
        worst = ends.loc[ends["difference"].abs().idxmax()]
        found.append(
            Finding(
                "info",
                f"0.1·KL read with its implied variance and the ELBO at that variance reach the same held-out log p(x): "
                f"the largest difference over seeds is {_power(worst['difference'], '.1e')} nats, with a standard error of "
                f"{_power(worst['difference_se'], '.1e')}.",
                f"Adam from one start on the same draws, {int(worst['num_data'])} data, paired.",
            )
        )
    pairs, optima = frames["pairs"], frames["optima"]
    apart = (pairs["log_evidence_scaled_implied"] - pairs["log_evidence_elbo_implied"]).abs().max()
    found.append(
        Finding(
            "pass" if pairs["relative_distance"].max() < 1e-3 and apart < 1e-3 else "warn",
            f"Trained in pairs from one start, β·KL at variance s² and the ELBO at βs² end in the same model: "
            f"{_power(pairs['relative_distance'].max())} of the way apart at most, log p(x) within {_power(apart)} nats once the "
            "implied variance is used.",
            f"Linear-Gaussian data, {len(pairs)} pairs. Without noise in training the two optima differ by at most "
            f"{_power(optima['largest_difference'].max())} in any number, and from the derived one by "
            f"{_power((optima['trained_beta'] - optima['derived']).abs().max())}.",
        )
    )
    mean_reduced = weights[weights["weight"] == PIXELS]
    if len(mean_reduced):
        found.append(
            Finding(
                "warn",
                f"Averaging the squared error over the {PIXELS} pixels beside a summed KL is β = {PIXELS}: "
                f"{_latents_in_use(mean_reduced['active_units'].mean())} and "
                f"{mean_reduced['unexplained'].mean():.0%} of the variance is left unexplained.",
                "A mean over D pixels with KL weight w stands for the variance Dw/2.",
                "Sum over pixels, or divide the KL by the number of pixels too.",
            )
        )
    return found


def _power(value: float, spec: str = ".0e") -> str:
    return va.tables.format_number(value, spec)


def _latents_in_use(count: float) -> str:
    return f"{count:.1f} latents stay in use" if count else "no latent stays in use"
