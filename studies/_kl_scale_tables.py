# ruff: noqa: E501
"""Tables of the study on scaling the KL, and the claims they decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from _claims import by_sign, claims_table

import vaeaudit as va

AVERAGED = [
    "squared_error", "unexplained", "noisy_squared_error", "rate", "median_scale", "active_units",
    "log_evidence_nominal", "log_evidence_implied", "elbo_nominal", "elbo_implied",
]  # fmt: skip


def means(models: pd.DataFrame, part: str) -> pd.DataFrame:
    """Mean over seeds of each quantity, one row per setting; none where a seed has none."""
    rows = models[models["part"] == part]
    keys = ["objective", "num_latents"]
    return va.tables.mean_over_seeds(rows, by=keys, values=["weight", *AVERAGED])


def paired(models: pd.DataFrame, quantity: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Any:
    """Quantity at setting a less that at b, same seeds: one row with its t interval."""
    sides = []
    for where in (a, b):
        rows = models
        for column, value in where.items():
            rows = rows[rows[column] == value]
        sides.append(rows.drop_duplicates("seed").set_index("seed")[quantity])
    difference = (sides[0] - sides[1]).dropna().rename("difference").reset_index().assign(what=quantity)
    return va.tables.over_seeds(difference, by=["what"], values=["difference"]).iloc[0]


def _span(row: Any, spec: str = ".3f") -> str:
    return va.tables.with_interval(row["value"], row["lower"], row["upper"], spec)


def _power(value: float) -> str:
    return va.tables.format_number(value, ".1e")


def path_table(paths: pd.DataFrame) -> pd.DataFrame:
    """Relative distance between the two paths, mean over seeds."""
    by = ["optimiser", "pair", "step"]
    table = va.tables.over_seeds(paths, by=by, values=["distance"])
    names = table["optimiser"].map({"adam": "Adam", "sgd": "SGD"})
    return table.assign(run=names + ", " + table["pair"])


def claims(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The claims that this study decides, with their evidence."""
    models = frames["models"]
    weights = models[models["part"] == "weights"]
    table = means(models, "weights")
    rows = []

    better = paired(weights, "squared_error", {"weight": 1.0}, {"weight": 0.1})
    rows.append(
        ("C3b", "Scaling the KL by 0.1 gives better reconstructions of held-out pictures", by_sign(better),
         f"squared error per picture falls by {_span(better)}")
    )  # fmt: skip

    path = path_table(frames["paths"])
    last = path[path["step"] == path["step"].max()].set_index("run")
    adam, other = last.loc["Adam, same step size"], last.loc["Adam, other draws"]
    same, scaled = last.loc["SGD, same step size"], last.loc["SGD, step size times β"]
    rows.append(
        ("C5b", "With Adam 0.1·KL and the ELBO at 0.1 s² take nearly the same path",
         "supported" if adam["upper"] < other["lower"] else "undecided",
         f"after {int(last['step'].iloc[0])} steps they are {_power(adam['value'])} of the way travelled apart (other draws of "
         f"noise and batches: {other['value']:.0%}); with SGD at one step size {same['value']:.0%}, with the step "
         f"size scaled by β {_power(scaled['value'])}")
    )  # fmt: skip

    auto = weights[weights["objective"] == "autoencoder"]
    lead = paired(weights, "squared_error", {"weight": 1.0}, {"objective": "autoencoder"})
    rows.append(
        ("C7", "An autoencoder of the same size shows that capacity suffices", by_sign(lead),
         f"it leaves {auto['unexplained'].mean():.1%} of the held-out variance unexplained, less than the ELBO's model by "
         f"{_span(lead)} in squared error: enough capacity, not a perfect reconstruction")
    )  # fmt: skip

    falling = table.dropna(subset=["weight"]).sort_values("weight", ascending=False)
    monotone = bool((np.diff(falling["squared_error"]) < 0).all() and (np.diff(falling["rate"]) > 0).all())
    least = falling.iloc[-1]
    rows.append(
        ("C14", "Decreasing the KL weight approaches an autoencoder",
         "supported" if monotone else "undecided",
         f"from β = {falling['weight'].iloc[0]:g} to {least['weight']:g} the rate grows from {falling['rate'].iloc[0]:.1f} to "
         f"{least['rate']:.1f} nats, the median σ falls from {falling['median_scale'].iloc[0]:.2f} to "
         f"{least['median_scale']:.3f}, the error to {least['squared_error'] / auto['squared_error'].mean():.2f} times the "
         "autoencoder's")
    )  # fmt: skip

    latents = models[models["part"] == "latents"]
    sizes = sorted(latents["num_latents"].unique())
    signs, texts = [], []
    for weight, part in latents.groupby("weight", sort=False):
        gain = paired(part, "squared_error", {"num_latents": sizes[0]}, {"num_latents": sizes[-1]})
        rate = paired(part, "rate", {"num_latents": sizes[-1]}, {"num_latents": sizes[0]})
        signs.append(by_sign(gain))
        change = paired(part, "squared_error", {"num_latents": sizes[-1]}, {"num_latents": sizes[0]})
        texts.append(
            f"at β = {weight:g} going from {sizes[0]} to {sizes[-1]} latents changes the squared error by "
            f"{_span(change, '+.3f')} and the rate by {_span(rate, '+.2f')} nats"
        )
    verdict = signs[0] if len(set(signs)) == 1 else "holds under conditions"
    rows.append(("C15", "More latent dimensions de-regularise too", verdict, "; ".join(texts)))
    return claims_table(rows)
