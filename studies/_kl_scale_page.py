# ruff: noqa: E501
"""The page of the study on scaling the KL: every sentence is computed from the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from _claims import claims_block
from _kl_scale_findings import PIXELS, findings
from _kl_scale_tables import claims, means, path_table

import vaeaudit as va
from vaeaudit.report import Figure, Math, Page, Section, Table, Text

READINGS = {"elbo_nominal": "read with variance ½", "elbo_implied": "read with variance β/2"}
OVER_WEIGHT = {
    "squared_error": "squared error per picture",
    "rate": "rate (nats)",
    "median_scale": "median σ",
}


def summary(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> pd.DataFrame:
    """The claims and their verdicts; the evidence is in the page's table of claims."""
    return claims(va.tables.gather(results)).drop(columns="evidence")


def page(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> Page:
    """The report."""
    frames = va.tables.gather(results)
    judged = claims(frames)
    supported = judged[judged["verdict"] == "supported"]
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
            _claims_section(judged),
            _weight_section(frames["models"], results["measure weights"].arrays),
            _path_section(path_table(frames["paths"]), frames["ends"]),
            _pair_section(frames["pairs"], frames["optima"]),
            _reduction_section(frames["reductions"]),
            _latent_section(means(frames["models"], "latents")),
        ],
    )


def _claims_section(judged: pd.DataFrame) -> Section:
    return Section(
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
            claims_block(judged),
        ],
    )


def _weight_section(models: pd.DataFrame, arrays: Mapping[str, np.ndarray]) -> Section:
    by_weight = means(models, "weights")
    curve = models.query("part == 'weights'").dropna(subset=["weight"])
    long = va.tables.over_seeds(curve, by=["weight"], values=[*OVER_WEIGHT, *READINGS])
    shown = long[long["quantity"].isin(OVER_WEIGHT)]
    readings = long[long["quantity"].isin(READINGS)]
    drawn = readings[readings["weight"] <= 1].assign(reading=lambda f: f["quantity"].map(READINGS))
    names = [n for n in by_weight["objective"] if f"picture {n}" in arrays]
    pictures = np.stack([arrays["x"], *[arrays[f"picture {n}"] for n in names]])
    return Section(
        "From collapse to an autoencoder",
        [
            Table(
                "weights",
                "Held-out digits, mean over seeds: squared error per picture at z = μ, the share of the variance that "
                "it leaves unexplained, and how much the posterior says about each picture.",
                by_weight,
                columns=["objective", "squared_error", "unexplained", "rate", "median_scale", "active_units"],
            ),
            Figure(
                "over_weight",
                "The same numbers over the weight β of the KL, mean over seeds with 95 % intervals.",
                "Three panels over β on a logarithmic axis: the squared error and the median σ rise, the rate falls.",
                lambda: va.figures.curve_panels(
                    shown,
                    x="weight",
                    lower="lower",
                    upper="upper",
                    titles=OVER_WEIGHT,
                    x_label="β",
                    log_x=True,
                ),
                shown,
            ),
            Table(
                "readings",
                "The same models' held-out ELBO and log p(x), nats per picture: nominal, read with the variance ½ they were "
                "trained with, and implied, read with β/2.",
                by_weight[
                    [
                        "objective",
                        "elbo_nominal",
                        "elbo_implied",
                        "log_evidence_nominal",
                        "log_evidence_implied",
                    ]
                ],
                note="log p(x) is left out where more than a tenth of the data have no trustworthy estimate with one of the seeds; an autoencoder "
                "has none.",
            ),
            Figure(
                "elbo_over_weight",
                "Held-out ELBO of the same models under both readings, mean over seeds.",
                "Two lines over β: the ELBO with variance ½ and with variance β/2; they meet at β = 1.",
                lambda: va.figures.curves(
                    drawn,
                    x="weight",
                    y="value",
                    hue="reading",
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
    )


def _path_section(path: pd.DataFrame, ends: pd.DataFrame) -> Section:
    return Section(
        "The same path?",
        [
            Text(
                "0.1·KL at variance $s^2$ and the ELBO at $0.1\\,s^2$ differ by a factor 0.1 in every gradient. "
                "Adam divides it out; SGD turns it into a step ten times smaller. The distance between the two "
                "paths is given as a share of the way travelled. 'Other draws' compares two runs of one objective that "
                "differ in their batches and noise: what chance alone does."
            ),
            Figure(
                "paths",
                "Distance between the weights of the two runs, as a share of the way travelled; mean over seeds.",
                "Relative distance over steps for Adam and SGD, logarithmic axes.",
                lambda: va.figures.curves(
                    path[path["value"] > 0],
                    x="step",
                    y="value",
                    hue="run",
                    log_x=True,
                    log_y=True,
                    y_label="distance / way travelled",
                ),
                path,
            ),
            Table(
                "path_ends",
                "Held-out log p(x) at the end of Adam's runs (nats per picture): 0.1·KL read with the implied variance 0.05, "
                "the ELBO at 0.05, and 0.1·KL read with the nominal 0.5. `difference` is that of the first two.",
                ends,
                formats={"difference": "+.1e", "difference_se": ".1e"},
            ),
        ],
    )


def _pair_section(pairs: pd.DataFrame, optima: pd.DataFrame) -> Section:
    """β·KL against another variance on data whose log p(x) is known."""
    return Section(
        "In pairs, on data whose log p(x) is known",
        [
            Text(
                "Linear-Gaussian data, a linear encoder and decoder. Each row trains $\\beta \\cdot \\mathrm{KL}$ at noise "
                "$s = 0.5$ and the ELBO at noise $\\sqrt{\\beta}\\,s$ from the same start on the same draws, and reads both "
                "with the exact log p(x)."
            ),
            Table(
                "pairs",
                "Same start, same draws of z: distance between the two models as a share of the way travelled, and held-out "
                "log p(x) of β·KL (scaled) and of the ELBO, read with s (nominal) or √β s (implied).",
                pairs,
                formats={"relative_distance": ".1e"},
            ),
            Table(
                "pair_optima",
                "Both trained without noise: the optimum that each reaches, mean over seeds, beside the derived one.",
                optima,
                formats={"largest_difference": ".1e"},
                note="Per principal direction of the data: `weight_sq` is the squared length of the decoder's weights, `scale` "
                "is σ, `weight_times_loc_map` the share of x that μ carries back to x̂. Direction 0 is the whole model.",
            ),
        ],
    )


def _reduction_section(reductions: pd.DataFrame) -> Section:
    """Reductions and the β they hide."""
    return Section(
        "Means in the place of sums, and the β they hide",
        [
            Math("\\frac{1}{D}\\|x - \\hat{x}\\|^2 + w\\,\\mathrm{KL} \\quad\\Rightarrow\\quad \\beta = D w"),
            Table(
                "reductions",
                f"How each term is reduced, the β that this hides ({PIXELS} pixels) and the variance it implies. The "
                "gradient of the loss as coded is that of the β-weighted ELBO, up to a factor.",
                reductions,
                formats={
                    "relative_error": ".0e",
                    "weight_in_code": ".3g",
                    "hidden_beta": ".3g",
                    "implied_variance": ".3g",
                },
                note="cosine and relative_error compare the two gradients: 1 and 0 say that they are the same.",
            ),
        ],
    )


def _latent_section(by_latents: pd.DataFrame) -> Section:
    return Section(
        "More latents",
        [
            Table(
                "latents",
                "Held-out digits by number of latents, mean over seeds.",
                by_latents,
                columns=[
                    "objective", "num_latents", "squared_error", "unexplained", "rate", "median_scale", "active_units",
                    "elbo_implied",
                ],
            ),
        ],
    )  # fmt: skip
