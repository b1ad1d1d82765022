# ruff: noqa: E501
"""The page of the study on L2 on the heads and shared noise: every sentence is computed from the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from _claims import claim_findings, claims_block, claims_table

import vaeaudit as va
from vaeaudit.report import Figure, Finding, Math, Page, Section, Table, Text

QUANTITIES = ["rate", "distortion", "elbo", "log_evidence", "active_units", "head_norm"]


def noise_table(noise: pd.DataFrame) -> pd.DataFrame:
    """Mean over batches, then over seeds with a t interval."""
    by_seed = noise.groupby(["noise", "batch_size", "seed"], sort=False, as_index=False)["variance"].mean()
    return va.tables.over_seeds(by_seed, by=["noise", "batch_size"], values=["variance"])


def slopes(noise: pd.DataFrame) -> pd.DataFrame:
    """Slope of log variance on log batch size, over the whole range and its upper half, per seed then pooled."""
    by_seed = noise.groupby(["noise", "seed", "batch_size"], sort=False, as_index=False)["variance"].mean()
    sizes = np.sort(by_seed["batch_size"].unique())
    rows = []
    for (kind, seed), part in by_seed.groupby(["noise", "seed"], sort=False):
        for label, least in (
            ("all sizes", sizes[0]),
            (f"from {sizes[len(sizes) // 2]}", sizes[len(sizes) // 2]),
        ):
            kept = part[part["batch_size"] >= least]
            slope = np.polyfit(np.log(kept["batch_size"]), np.log(kept["variance"]), 1)[0]
            rows.append({"noise": kind, "range": label, "seed": seed, "slope": slope})
    return va.tables.over_seeds(pd.DataFrame(rows), by=["noise", "range"], values=["slope"])


def means(models: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds, one row per objective; none where a seed has none."""
    return va.tables.mean_over_seeds(models, by=["objective", "family", "weight"], values=QUANTITIES)


def against_kl_curve(models: pd.DataFrame) -> pd.DataFrame:
    """Distortion of each L2 model less that of the KL-weight curve at the same rate, same seed.

    Positive: L2 on the heads buys the same fall in rate at a higher distortion than a larger KL weight.
    Rates outside the curve's range are left out.
    """
    rows = []
    for seed, part in models.groupby("seed"):
        curve = part[part["family"] != "L2 on heads"].sort_values("rate")
        for row in part[part["family"] == "L2 on heads"].itertuples():
            if curve["rate"].min() <= row.rate <= curve["rate"].max():
                at_rate = np.interp(row.rate, curve["rate"], curve["distortion"])
                weight = np.interp(row.rate, curve["rate"], curve["weight"])
                rows.append(
                    {"objective": row.objective, "seed": seed, "excess_distortion": row.distortion - at_rate}
                    | {"equivalent_kl_weight": weight}
                )
    if not rows:
        return pd.DataFrame()
    values = ["excess_distortion", "equivalent_kl_weight"]
    return va.tables.over_seeds(pd.DataFrame(rows), by=["objective"], values=values)


def rate_drop(models: pd.DataFrame) -> pd.DataFrame:
    """Rate of the ELBO's model less that of each L2 model, same seed."""
    base = models[models["objective"] == "elbo"].set_index("seed")["rate"]
    part = models[models["family"] == "L2 on heads"].copy()
    part["drop"] = part["seed"].map(base) - part["rate"]
    return va.tables.over_seeds(part, by=["objective", "weight"], values=["drop"])


def _span(row: Any) -> str:
    return va.tables.with_interval(row["value"], row["lower"], row["upper"])


def claims(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What the tables decide."""
    models, table = frames["models"], slopes(frames["noise"])
    drop = rate_drop(models).sort_values("weight").iloc[-1]
    exceeding = int(models.loc[models["family"] != "KL weight", "num_exceeding"].sum())
    tested = int(models.loc[models["family"] != "KL weight", "num_data"].sum())
    late = table[table["range"] != "all sizes"].set_index("noise")
    own, shared = late.loc["one draw per datum"], late.loc["one draw per batch"]
    rows = [
        ("B2b", "L2 on the heads pulls towards collapse, as a larger KL weight does",
         "supported" if drop["lower"] > 0 else "undecided",
         f"`{drop['objective']}` lowers the rate by {_span(drop)} nats"),
        ("B2a", "With L2 on the heads the ELBO stays a lower bound",
         "supported" if exceeding == 0 else "contradicted",
         f"{exceeding} of {tested} held-out data certified above log p(x)"),
        ("B3", "One ε per batch is fine",
         "contradicted" if shared["lower"] > own["upper"] else "undecided",
         f"log–log slope of the gradient's variance {late['range'].iloc[0]} on: {_span(own)} "
         f"with one draw per datum, {_span(shared)} with one per batch: unbiased, but larger batches do not average it"),
    ]  # fmt: skip
    return claims_table(rows)


def summary(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> pd.DataFrame:
    """The claims and their verdicts; the evidence is in the page's table of claims."""
    return claims(va.tables.gather(results)).drop(columns="evidence")


def findings(frames: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """What the tables say, in plain words."""
    found = claim_findings(claims(frames))
    noise = noise_table(frames["noise"])
    largest = noise[noise["batch_size"] == noise["batch_size"].max()].set_index("noise")["value"]
    found.append(
        Finding(
            "warn",
            f"At batch size {int(noise['batch_size'].max())} sharing ε multiplies the gradient's noise variance by "
            f"{largest['one draw per batch'] / largest['one draw per datum']:.0f}.",
            what_to_do="Draw ε with the batch's shape.",
        )
    )
    excess = against_kl_curve(frames["models"])
    if len(excess):
        rows = excess[(excess["quantity"] == "excess_distortion") & excess["lower"].notna()]
        worse = rows[rows["lower"] > 0]
        found.append(
            Finding(
                "info",
                f"At equal rate, {len(worse) or 'none'} of {len(rows)} L2 settings {'has' if len(worse) < 2 else 'have'} a distortion surely above what a larger KL "
                "weight gives; for the others the table shows no excess.",
                "Straight lines between points of a convex curve lie above it, so that an excess is shown too small: only "
                "a positive one is evidence.",
            )
        )
    return found


def _verdict(judged: pd.DataFrame, noise: pd.DataFrame) -> str:
    """The answer in one sentence, as far as the tables carry it."""
    verdicts = judged.set_index("claim")["verdict"]
    collapse = {
        "supported": "L2 on the heads lowers the rate, as a larger KL weight does",
        "undecided": "L2 on the heads has no effect on the rate that is told apart from none here",
    }[verdicts["B2b"]]
    bound = (
        "and leaves the ELBO a lower bound" if verdicts["B2a"] == "supported" else "and broke the bound here"
    )
    size = noise["batch_size"].max()
    largest = noise[noise["batch_size"] == size].set_index("noise")["value"]
    factor = largest["one draw per batch"] / largest["one draw per datum"]
    return f"{collapse}, {bound}; one ε for a batch of {size:g} gives the gradient {factor:.0f} times the noise variance."


def _slope_text(table: pd.DataFrame) -> str:
    late = table[table["range"] != "all sizes"]
    return f"Measured slopes {late['range'].iloc[0]} on: " + ", ".join(
        f"{va.tables.with_interval(row.value, np.nan, np.nan)} ({row.noise})" for row in late.itertuples()
    )


def page(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> Page:
    """The report."""
    frames = va.tables.gather(results)
    judged, noise, models = claims(frames), noise_table(frames["noise"]), means(frames["models"])
    excess = against_kl_curve(frames["models"])
    return Page(
        name="l2_on_heads",
        title="L2 on the encoder's heads, and noise shared by a batch",
        question="Does L2 on the layers of μ and log σ² add anything beside the KL, and may a batch share one ε?",
        verdict=_verdict(judged, noise),
        findings=findings(frames),
        sections=[
            Section(
                "The claims and their verdicts",
                [
                    Text(
                        "The penalty acts on the encoder's weights alone: the value without it is still the ELBO of the "
                        "same decoder. With zero weights both heads output their biases, one q(z) for every x, and the KL "
                        "then puts that at N(0, I): collapse."
                    ),
                    Math(
                        "\\mathcal{L} - \\lambda\\left(\\|W_\\mu\\|^2 + \\|W_{\\log\\sigma}\\|^2\\right) \\le \\log p(x)"
                    ),
                    claims_block(judged),
                ],
            ),
            Section(
                "L2 on the heads against a larger KL weight",
                [
                    Table(
                        "models",
                        "Held-out binarised digits, mean over seeds; `weight` is that of the L2 term or of the KL, `head_norm` "
                        "the length of the weights that L2 acts on.",
                        models,
                    ),
                    Figure(
                        "rate_distortion",
                        "Rate and distortion of each setting, mean over seeds; models on one slanted line have the same ELBO.",
                        "Points in the rate–distortion plane by objective.",
                        lambda: va.figures.rate_distortion_plane(models),
                        models,
                    ),
                    *(
                        [
                            Table(
                                "against_kl_curve",
                                "Each L2 model against models with a larger KL weight at the same rate: how much higher its "
                                "distortion is (nats), and which KL weight has its rate.",
                                excess,
                            )
                        ]
                        if len(excess)
                        else []
                    ),
                ],
            ),
            Section(
                "Shared noise",
                [
                    Text(
                        "Variance of the gradient over the noise ε at fixed batches and parameters. With its own draw "
                        "per datum it falls like 1/B; with one draw for all it cannot."
                    ),
                    Figure(
                        "noise",
                        f"Gradient variance over batch size. {_slope_text(slopes(frames['noise']))}.",
                        "Two lines on logarithmic axes: one falls with slope −1, the other levels off.",
                        lambda: va.figures.curves(
                            noise,
                            x="batch_size",
                            y="value",
                            hue="noise",
                            log_x=True,
                            log_y=True,
                            x_label="batch size",
                            y_label="variance of the gradient",
                        ),
                        noise,
                    ),
                    Table(
                        "slopes",
                        "Slope of log variance on log batch size, mean over seeds.",
                        slopes(frames["noise"]),
                    ),
                ],
            ),
        ],
    )
