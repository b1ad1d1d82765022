"""The part of the derivations page on the linear-Gaussian theory: formulas, tables, paths."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import pandas as pd

import vaeaudit as va
from vaeaudit.report import Figure, Math, Section, Table, Text

DECOUPLING = (
    r"\varphi = -\frac{\ell (1 - w a)^2 + w^2 \sigma^2}{2 s^2} - \kappa \, a^2 \ell - g(\sigma) -"
    r" \lambda_W w^2",
    "What one latent contributes, with decoder weight $w$, loc map $a$ and scale $\\sigma$ on a "
    "principal direction "
    "of variance $\\ell$.",
)
BEST_ENCODER = (
    r"a = \frac{w}{w^2 + 2 \kappa s^2}, \quad \sigma_{\mathrm{KL}}^2 = \frac{\beta s^2}{w^2 + \beta"
    r" s^2}, \quad"
    r" \sigma_P = \frac{2 \lambda s^2}{w^2 + 2 \lambda s^2}",
    "The best encoder for a given decoder: under $\\beta \\, \\mathrm{KL}$ and under $\\lambda P$.",
)
FORMULAS = (
    (
        "The β-ELBO.",
        r"w^2 = \ell - \beta s^2, \quad \sigma^2 = \frac{\beta s^2}{\ell}, \quad \ell > \beta s^2",
    ),
    (
        "The β-ELBO with learned noise and $k$ directions alive.",
        r"s^2 = \frac{\sum_{j > k} \ell_j}{D - \beta k}",
    ),
    (
        "The ELBO with L2 on the head.",
        r"(w^2 + k s^2)^2 = \ell k (w^2 + s^2), \quad k = 1 + \frac{2 \lambda}{\ell}, \quad"
        r" \sigma^2 = \frac{s^2}{w^2 + s^2}",
    ),
    (
        "Free bits, where the ELBO's rate is at least $\\lambda$.",
        r"w^2 = \ell - s^2, \quad \sigma^2 = \frac{s^2}{\ell}, \quad \frac{1}{2} \log \frac{\ell}{s^2} \ge \lambda",
    ),
    (
        "Free bits with $k$ directions below, which share the floor.",
        r"1 + g_j = \frac{k e^{2 \lambda} \sqrt{\ell_j}}{\sum_i \sqrt{\ell_i}}, \quad"
        r" w_j^2 = \frac{\ell_j g_j e^{2 \lambda}}{(1 + g_j)^2}, \quad \sigma = e^{-\lambda}",
    ),
    (
        "The penalty $\\lambda(\\mu^2 + (\\sigma - 1)^2)$.",
        r"\varphi(w^2) = -\lambda \frac{\ell + w^2}{w^2 + 2 \lambda s^2} \to -\lambda \quad"
        r" \mathrm{as}\ w \to \infty, \quad \mathrm{if}\ \ell > 2 \lambda s^2",
    ),
    (
        "The penalty $\\lambda(\\tfrac{1}{2}\\mu^2 + (\\sigma - 1)^2)$.",
        r"w^2 = 2 \lambda s^2 \frac{\sqrt{\ell} - s \sqrt{\lambda}}{2 s \sqrt{\lambda} - \sqrt{\ell}},"
        r" \quad"
        r" \lambda s^2 < \ell < 4 \lambda s^2",
    ),
    (
        "The regularised autoencoder.",
        r"w^2 = \sqrt{\frac{\ell \beta}{2 \lambda_W}} - \beta s^2, \quad \sigma = 0, \quad"
        r" \ell > 2 \lambda_W \beta s^4",
    ),
)


def _lines(frame: pd.DataFrame, **options: Any) -> Any:
    return va.figures.curves(frame, **options)


def _scales(by_weight: pd.DataFrame) -> pd.DataFrame:
    part = by_weight[by_weight["regulariser"] == "β · KL"]
    rows = [
        part.assign(line=[f"direction {j}, {what}" for j in part["direction"]], value=part[column])
        for what, column in (("q", "scale"), ("posterior", "posterior_scale"))
    ]
    frame = pd.concat(rows)
    return frame[frame["direction"] <= 2][["setting", "line", "value"]].reset_index(drop=True)


def _alive(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return frame.groupby(by, sort=False, as_index=False).agg(alive=("alive", "sum"))


def _readings(by_weight: pd.DataFrame) -> pd.DataFrame:
    part = by_weight[(by_weight["regulariser"] == "β · KL") & (by_weight["direction"] == 1)]
    return pd.concat(
        [
            part.assign(reading="noise s² as in the loss", value=part["log_evidence"]),
            part.assign(reading="implied noise βs²", value=part["log_evidence_implied"]),
        ]
    )[["setting", "reading", "value"]].reset_index(drop=True)


def _ridge(ridge: pd.DataFrame) -> pd.DataFrame:
    rows = [
        ridge.assign(line=ridge["objective"] + ": objective", nats=ridge["value"]),
        ridge[ridge["objective"] == "elbo"].assign(line="log p(x)", nats=lambda f: f["log_evidence"]),
    ]
    return pd.concat(rows)[["weight_sq", "line", "nats"]].reset_index(drop=True)


def _figure(name: str, caption: str, alt: str, frame: pd.DataFrame, **options: Any) -> Figure:
    return Figure(name, caption, alt, functools.partial(_lines, frame, **options), frame)


def _over_noise(by_noise: pd.DataFrame, column: str, caption: str, alt: str) -> Figure:
    """One quantity per objective over the decoder's noise."""
    first = by_noise[by_noise["direction"] == 1][["variance", "objective", column]].reset_index(drop=True)
    return _figure(
        f"{column}_over_noise",
        caption,
        alt,
        first,
        x="variance",
        y=column,
        hue="objective",
        log_x=True,
        x_label="s²",
        y_label=f"{column}, nats",
    )


def theory_sections(frames: Mapping[str, pd.DataFrame]) -> list[Section]:
    optima, by_weight, by_noise = frames["optima"], frames["by_weight"], frames["by_noise"]
    short = [
        "objective",
        "direction",
        "eigenvalue",
        "alive",
        "weight_sq",
        "loc_map",
        "scale",
        "posterior_scale",
    ]
    per_objective = ["objective", "noise_scale", "threshold", "value", "elbo", "log_evidence"]
    per_objective += ["shortfall", "gap", "how"]
    tables: list[Any] = []
    for (spectrum, noise), rows in optima.groupby(["spectrum", "noise"], sort=False):
        stem = f"{spectrum}_{noise}".replace(" ", "_")
        title = f"{spectrum} spectrum ({rows['eigenvalues'].iloc[0]})"
        once = rows[rows["direction"] == 1]
        once = once.assign(
            **{name: once[name].round(12) for name in ("shortfall", "gap")}
        )  # a float's rounding
        tables.append(
            Table(
                f"optima_{stem}",
                f"Per objective, {title}, {noise} noise.",
                once,
                per_objective,
                note="threshold: data variance below which a direction is given up. shortfall = "
                "log_evidence_max − "
                "log_evidence; gap = log_evidence − elbo. Nats per datum, averages over the data "
                "distribution.",
            )
        )
        tables.append(
            Table(f"directions_{stem}", f"Per direction, {title}, {noise} noise.", rows, short, max_rows=70)
        )
    verified = frames["verified"]
    worst = verified.groupby(["objective", "noise"], sort=False, as_index=False).agg(
        largest_relative_error=("relative_error", "max"), comparisons=("relative_error", "size")
    )
    return [
        Section(
            "The linear-Gaussian theory of every objective",
            [
                Text(
                    "Take data with covariance eigenvalues $\\ell_1 \\ge \\ldots \\ge \\ell_D$, a linear "
                    "decoder with noise "
                    "$s^2$ and a linear encoder. Every objective below then decouples over the principal "
                    "directions, save free bits below its floor."
                ),
                Math(*DECOUPLING),
                Text(
                    "Here $\\kappa$ is the charge on $\\mathbb{E} \\mu^2$ ($\\frac{\\beta}{2}$ for the "
                    "β-weighted KL, "
                    "$\\lambda$ for the penalty $\\lambda(\\mu^2 + (\\sigma - 1)^2)$), $g$ the charge on "
                    "$\\sigma$, and "
                    "$\\lambda_W$ the L2 on the decoder."
                ),
                Math(*BEST_ENCODER),
                Text(
                    "What is left is a function of $w^2$. The entropy in the KL makes it fall again as "
                    "$w$ grows, which "
                    "gives probabilistic PCA. The penalty charges at most $\\lambda$ for a scale that "
                    "has gone to zero, "
                    "and nothing for a code that has shrunk: above its threshold the objective rises for "
                    "ever."
                ),
                *[Math(latex, name) for name, latex in FORMULAS],
                Text(
                    "The importance-weighted bound and the total-correlation objective (weight at least "
                    "1) share the ELBO's "
                    "optimum: the one is tight where q is the posterior, the other charges nothing where "
                    "the latents are "
                    "independent, and probabilistic PCA has both. The Wasserstein autoencoder with an "
                    "MMD reaches its best "
                    "error and its best MMD together at $\\sigma \\to 0$ and $w^2 = \\ell$. Free bits "
                    "charge a latent only above its floor: directions below it do best when every latent "
                    "holds a mixture of them, with signal-to-noise ratios $g_j$. The capacity objective has no "
                    "formula: an optimiser finds it."
                ),
            ],
        ),
        Section("The table", tables),
        Section(
            "Over β, λ and s²",
            [
                _figure(
                    "scale_over_beta",
                    "Scale of q against the true posterior's, over β (fixed noise).",
                    "Scale of q and of the true posterior over the KL weight; they cross at one.",
                    _scales(by_weight),
                    x="setting",
                    y="value",
                    hue="line",
                    log_x=True,
                    x_label="β",
                    y_label="scale",
                    reference=1.0,
                    reference_label="prior",
                ),
                _figure(
                    "alive_over_weight",
                    "Directions alive over the weight of the regulariser. β · KL and λ(½μ² + (σ − 1)²) "
                    "give a direction up at the same weight, ℓ/s²; the penalty λ(μ² + (σ − 1)²) at half "
                    "of it.",
                    "Number of directions alive falls in steps as the weight grows, at different thresholds.",
                    _alive(by_weight, ["regulariser", "setting"]),
                    x="setting",
                    y="alive",
                    hue="regulariser",
                    log_x=True,
                    x_label="weight of the regulariser",
                    y_label="directions alive",
                ),
                _figure(
                    "evidence_over_beta",
                    "log p(x) over β, read with the loss's noise and with the implied noise.",
                    "Average log evidence over beta in two readings.",
                    _readings(by_weight),
                    x="setting",
                    y="value",
                    hue="reading",
                    log_x=True,
                    x_label="β",
                    y_label="mean log p(x), nats",
                ),
                *[
                    _over_noise(by_noise, column, caption, alt)
                    for column, caption, alt in (
                        (
                            "shortfall",
                            "What each objective leaves of log p(x), over the noise held fixed.",
                            "Shortfall of log evidence against probabilistic PCA at the same noise, over the "
                            "noise variance.",
                        ),
                        (
                            "gap",
                            "Inference gap log p(x) − ELBO at each objective's optimum.",
                            "Inference gap over the noise variance.",
                        ),
                    )
                ],
                _figure(
                    "objective_along_ridge",
                    "Each objective as the decoder's weight grows, with its best encoder; that of the ELBO makes it "
                    "equal to log p(x), so that the two lines are one.",
                    "The ELBO peaks and falls with log p(x); the penalties keep rising while log p(x) falls.",
                    _ridge(frames["ridge"]),
                    x="weight_sq",
                    y="nats",
                    hue="line",
                    log_x=True,
                    x_label="decoder weight w²",
                    y_label="nats per datum",
                ),
            ],
        ),
        Section(
            "Derived against trained",
            [
                Text(
                    "Whole decoder and encoder matrices, trained in float64 on the exact population "
                    "objective from random "
                    "starts on rotated data: no principal directions enter. Scales are compared by their "
                    "difference."
                ),
                Table(
                    "verified",
                    "Largest relative error per objective.",
                    worst,
                    formats={"largest_relative_error": ".1e"},
                ),
            ],
        ),
    ]


def noise_blocks(noise: pd.DataFrame) -> list[Any]:
    """Gradient noise over the batch size, measured and derived."""
    lines = pd.concat(
        [
            noise.assign(line=noise["noise"] + ", measured", value=noise["variance"]),
            noise.assign(line=noise["noise"] + ", derived", value=noise["derived"]),
        ]
    )[["batch_size", "line", "value"]].reset_index(drop=True)
    slopes = noise.drop_duplicates("noise").set_index("noise")["slope"]
    caption = "Variance of the decoder's gradient over the encoder's noise. Measured slopes: " + ", ".join(
        f"{value:.2f} ({kind})" for kind, value in slopes.items()
    )
    return [
        _figure(
            "gradient_noise",
            caption + ".",
            "Log–log: with one draw per datum the variance falls as one over the batch size; shared, it stays.",
            lines,
            x="batch_size",
            y="value",
            hue="line",
            log_x=True,
            log_y=True,
            x_label="batch size B",
            y_label="variance of the gradient",
        ),
        Table(
            "gradient_noise_table",
            "The same in numbers.",
            noise,
            formats={"variance": ".3g", "se": ".1g", "derived": ".3g"},
        ),
    ]
