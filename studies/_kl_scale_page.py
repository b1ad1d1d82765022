# ruff: noqa: E501
"""The page of the study on scaling the KL: every sentence is computed from the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

import vaeaudit as va
from vaeaudit.report import Figure, Finding, Math, Page, Section, Table, Text

PIXELS = 64
AVERAGED = [
    "squared_error", "unexplained", "noisy_squared_error", "rate", "median_scale", "active_units",
    "log_evidence_nominal", "log_evidence_implied", "elbo_nominal", "elbo_implied",
]  # fmt: skip


def gather(results: Mapping[str, va.CellResult]) -> dict[str, pd.DataFrame]:
    """Stack each kind of frame over all cells."""
    frames: dict[str, list[pd.DataFrame]] = {}
    for result in results.values():
        for name, frame in result.frames.items():
            frames.setdefault(name, []).append(frame)
    return {name: pd.concat(parts, ignore_index=True) for name, parts in frames.items()}


def means(models: pd.DataFrame, part: str) -> pd.DataFrame:
    """Mean over seeds of each quantity, one row per setting."""
    rows = models[models["part"] == part]
    keys = ["objective", "num_latents"]
    return rows.groupby(keys, sort=False, as_index=False)[["weight", *AVERAGED]].mean()


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


def _span(row: Any, digits: int = 3) -> str:
    return f"{row['value']:.{digits}f} [{row['lower']:.{digits}f}, {row['upper']:.{digits}f}]"


def _sign(row: Any) -> str:
    return "supported" if row["lower"] > 0 else "contradicted" if row["upper"] < 0 else "undecided"


def path_table(paths: pd.DataFrame) -> pd.DataFrame:
    """Relative distance between the two paths, mean over seeds."""
    by = ["optimiser", "pair", "step"]
    table = va.tables.over_seeds(paths, by=by, values=["distance"])
    return table.assign(run=table["optimiser"] + ", " + table["pair"])


def claims(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The claims that this study decides, with their evidence."""
    models = frames["models"]
    weights = models[models["part"] == "weights"]
    table = means(models, "weights")
    rows = []

    better = paired(weights, "squared_error", {"weight": 1.0}, {"weight": 0.1})
    rows.append(
        ("C3b", "Scaling the KL by 0.1 gives better reconstructions of held-out pictures", _sign(better),
         f"squared error per picture falls by {_span(better)}")
    )  # fmt: skip

    path = path_table(frames["paths"])
    last = path[path["step"] == path["step"].max()].set_index("run")
    adam, other = last.loc["adam, same step size"], last.loc["adam, other draws"]
    same, scaled = last.loc["sgd, same step size"], last.loc["sgd, step size times β"]
    rows.append(
        ("C5b", "With Adam 0.1·KL and the ELBO at 0.1 s² take nearly the same path",
         "supported" if adam["upper"] < other["lower"] else "undecided",
         f"after {int(last['step'].iloc[0])} steps they are {adam['value']:.1e} of the way travelled apart (other draws of "
         f"noise and batches: {other['value']:.0%}); with SGD at one step size {same['value']:.0%}, with the step "
         f"size scaled by β {scaled['value']:.1e}")
    )  # fmt: skip

    auto = weights[weights["objective"] == "autoencoder"]
    lead = paired(weights, "squared_error", {"weight": 1.0}, {"objective": "autoencoder"})
    rows.append(
        ("C7", "An autoencoder of the same size shows that capacity suffices", _sign(lead),
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
        signs.append(_sign(gain))
        texts.append(
            f"at β = {weight:g} going from {sizes[0]} to {sizes[-1]} latents lowers the squared error by {_span(gain)} and "
            f"raises the rate by {_span(rate, 2)} nats"
        )
    verdict = signs[0] if len(set(signs)) == 1 else "holds under conditions"
    rows.append(("C15", "More latent dimensions de-regularise too", verdict, "; ".join(texts)))
    return pd.DataFrame(rows, columns=["claim", "statement", "verdict", "evidence"])


def findings(frames: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """What the tables say, in plain words."""
    level = {
        "supported": "pass",
        "contradicted": "warn",
        "undecided": "unreliable",
        "holds under conditions": "info",
    }
    found = [
        Finding(
            level[row.verdict],
            f"{row.statement}: {row.verdict} ({row.claim}).",
            row.evidence[0].upper() + row.evidence[1:] + ".",
        )
        for row in claims(frames).itertuples()
    ]
    models = frames["models"]
    weights = models[models["part"] == "weights"]
    sound = weights[weights["weight"] == 0.1]
    if len(sound) and sound["elbo_implied"].notna().all():
        gain = (sound["elbo_implied"] - sound["elbo_nominal"]).mean()
        found.append(
            Finding(
                "warn",
                f"Read with the variance it implies (0.05 instead of 0.5), the model trained with 0.1·KL has an ELBO "
                f"{gain:+.1f} nats per picture from the nominal reading.",
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
                f"the largest difference over seeds is {worst['difference']:+.1e} ± {worst['difference_se']:.1e} nats.",
                f"Adam from one start on the same draws, {int(worst['num_data'])} data, paired.",
            )
        )
    pairs, optima = frames["pairs"], frames["optima"]
    apart = (pairs["log_evidence_scaled_implied"] - pairs["log_evidence_elbo_implied"]).abs().max()
    found.append(
        Finding(
            "pass" if pairs["relative_distance"].max() < 1e-3 and apart < 1e-3 else "warn",
            f"Trained in pairs from one start, β·KL at variance s² and the ELBO at βs² end in the same model: "
            f"{pairs['relative_distance'].max():.0e} of the way apart at most, log p(x) within {apart:.0e} nats once the "
            "implied variance is used.",
            f"Linear-Gaussian data, {len(pairs)} pairs. Without noise in training the two optima differ by at most "
            f"{optima['largest_difference'].max():.0e} in any number, and from the derived one by "
            f"{(optima['trained_beta'] - optima['derived']).abs().max():.0e}.",
        )
    )
    mean_reduced = weights[weights["weight"] == PIXELS]
    if len(mean_reduced):
        found.append(
            Finding(
                "warn",
                f"Averaging the squared error over the {PIXELS} pixels beside a summed KL is β = {PIXELS}: "
                f"{mean_reduced['active_units'].mean():.1f} latents stay in use and "
                f"{mean_reduced['unexplained'].mean():.0%} of the variance is left unexplained.",
                "A mean over D pixels with KL weight w stands for the variance Dw/2.",
                "Sum over pixels, or divide the KL by the number of pixels too.",
            )
        )
    return found


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


def summary(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> pd.DataFrame:
    """The claims and their verdicts."""
    return claims(gather(results))


def page(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> Page:
    """The report."""
    frames = gather(results)
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
