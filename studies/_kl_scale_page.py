# ruff: noqa: E501
"""The page of the study on scaling the KL: every sentence is computed from the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from _kl_scale_findings import PIXELS, findings
from _kl_scale_tables import claims, means, path_table

import vaeaudit as va
from vaeaudit.report import Figure, Math, Page, Section, Table, Text


def summary(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> pd.DataFrame:
    """The claims and their verdicts."""
    return claims(va.tables.gather(results))


def page(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> Page:
    """The report."""
    frames = va.tables.gather(results)
    judged = claims(frames)
    supported = judged[judged["verdict"] == "supported"]
    by_weight = means(frames["models"], "weights")
    curve = frames["models"].query("part == 'weights'").dropna(subset=["weight"])
    long = va.tables.over_seeds(
        curve, by=["weight"], values=["squared_error", "rate", "median_scale", "elbo_nominal", "elbo_implied"]
    )
    path = path_table(frames["paths"])
    arrays = results["measure weights"].arrays
    names = [n for n in by_weight["objective"] if f"picture {n}" in arrays]
    pictures = np.stack([arrays["x"], *[arrays[f"picture {n}"] for n in names]])

    def over_weight(quantity: str) -> pd.DataFrame:
        return long[long["quantity"] == quantity]

    def draw(quantity: str, label: str, log_y: bool = False) -> Any:
        part = over_weight(quantity)
        band = part[["lower", "upper"]].notna().all(axis=None) and not log_y
        ends = {"lower": "lower", "upper": "upper"} if band else {}
        return va.figures.curves(
            part, x="weight", y="value", log_x=True, log_y=log_y, x_label="β", y_label=label, **ends
        )

    readings = long[long["quantity"].isin(["elbo_nominal", "elbo_implied"])]
    return Page(
        name="kl_scale",
        title="What does scaling the KL by 0.1 do?",
        question="Is 0.1·KL beside a squared error sound, and what does it optimise?",
        verdict=(
            "Sound, and something else than it seems: 0.1·KL beside ‖x−x̂‖² is the ELBO of a decoder with a tenth of "
            f"the variance. {len(supported)} of {len(judged)} measured claims are supported on these data."
        ),
        findings=findings(frames),
        sections=[
            Section(
                "The claims and their verdicts",
                [
                    Math(
                        "\\|x - \\hat{x}\\|^2 + \\beta\\,\\mathrm{KL} = \\beta\\left("
                        "\\frac{\\|x - \\hat{x}\\|^2}{2 \\cdot \\beta/2} + \\mathrm{KL}\\right)"
                    ),
                    Text(
                        "The right side is β times −ELBO of a Gaussian decoder with variance β/2, up to its normaliser "
                        "$\\tfrac{D}{2}\\log(\\pi\\beta)$. So a value of β is a statement about noise."
                    ),
                    Table("claims", "Decided by the tables below.", judged),
                ],
            ),
            Section(
                "From collapse to an autoencoder",
                [
                    Table(
                        "weights",
                        "Held-out digits, mean over seeds; squared errors per picture. log p(x) and ELBO read with the "
                        "nominal variance ½ and with the implied β/2.",
                        by_weight,
                        note="log p(x) is left out where more than a tenth of the data have no trustworthy estimate.",
                    ),
                    *[
                        Figure(
                            f"{quantity}_over_weight",
                            f"{label} over the weight of the KL, mean over seeds with its interval.",
                            f"{label} against β on a logarithmic axis.",
                            lambda q=quantity, y=label, g=log_y: draw(q, y, g),
                            over_weight(quantity),
                            width="half",
                        )
                        for quantity, label, log_y in (
                            ("squared_error", "squared error per picture", False),
                            ("rate", "rate (nats)", False),
                            ("median_scale", "median σ", True),
                        )
                    ],
                    Figure(
                        "elbo_over_weight",
                        "Held-out ELBO of the same models under both readings.",
                        "Two lines over β: the ELBO with variance ½ and with variance β/2; they meet at β = 1.",
                        lambda: va.figures.curves(
                            readings[readings["weight"] <= 1],
                            x="weight",
                            y="value",
                            hue="quantity",
                            log_x=True,
                            x_label="β",
                            y_label="ELBO (nats)",
                        ),
                        readings,
                    ),
                    Figure(
                        "reconstructions",
                        "Held-out digits and their reconstructions from z = μ.",
                        "Rows of pictures: the data, then each objective's reconstructions.",
                        lambda: va.figures.image_grid(pictures, ["data", *names]),
                    ),
                ],
            ),
            Section(
                "The same path?",
                [
                    Text(
                        "0.1·KL at variance $s^2$ and the ELBO at $0.1\\,s^2$ differ by a factor 0.1 in every gradient. "
                        "Adam divides it out; SGD turns it into a step ten times smaller. The distance between the two "
                        "paths is given as a share of the way travelled."
                    ),
                    Figure(
                        "paths",
                        "Distance between the two runs, mean over seeds.",
                        "Relative distance over steps for Adam and SGD, logarithmic axes.",
                        lambda: va.figures.curves(
                            path[path["value"] > 0],
                            x="step",
                            y="value",
                            hue="run",
                            log_x=True,
                            log_y=True,
                            y_label="relative distance",
                        ),
                        path,
                    ),
                    Table(
                        "path_ends",
                        "Held-out log p(x) at the end, both read with variance 0.05.",
                        frames["ends"],
                        formats={"difference": ".1e", "difference_se": ".1e"},
                    ),
                ],
            ),
            *_pair_sections(frames),
            Section(
                "More latents",
                [
                    Table(
                        "latents",
                        "Held-out digits by number of latents, mean over seeds.",
                        means(frames["models"], "latents"),
                    ),
                ],
            ),
        ],
    )


def _pair_sections(frames: Mapping[str, pd.DataFrame]) -> list[Section]:
    """β·KL against another variance on data whose log p(x) is known; reductions and the β they hide."""
    reductions = frames["reductions"]
    return [
        Section(
            "In pairs, on data whose log p(x) is known",
            [
                Text(
                    "Linear-Gaussian data, a linear encoder and decoder. Each row trains $\\beta \\cdot \\mathrm{KL}$ at noise "
                    "$s = 0.5$ and the ELBO at noise $\\sqrt{\\beta}\\,s$ from the same start on the same draws, and reads both "
                    "with the exact log p(x)."
                ),
                Table(
                    "pairs",
                    "Same start, same draws of z: held-out log p(x) and the distance between the two models, as a share of "
                    "the way travelled.",
                    frames["pairs"],
                    formats={"relative_distance": ".1e"},
                ),
                Table(
                    "pair_optima",
                    "Both trained without noise: optimum of each, mean over seeds, beside the derived one.",
                    frames["optima"],
                    formats={"largest_difference": ".1e"},
                ),
            ],
        ),
        Section(
            "Means in the place of sums, and the β they hide",
            [
                Math(
                    "\\frac{1}{D}\\|x - \\hat{x}\\|^2 + w\\,\\mathrm{KL} \\quad\\Rightarrow\\quad \\beta = D w"
                ),
                Table(
                    "reductions",
                    f"How each term is reduced, the β that this hides ({PIXELS} pixels) and the variance it implies. The "
                    "gradient of the loss as coded is that of the β-weighted ELBO, up to a factor.",
                    reductions,
                    formats={
                        "relative_error": ".0e",
                        "weight_in_code": ".4g",
                        "hidden_beta": ".4g",
                        "implied_variance": ".4g",
                    },
                ),
            ],
        ),
    ]
