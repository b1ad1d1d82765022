"""The page of the calibration study: which estimate of log p(x) to believe."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from _calibration_findings import findings
from _calibration_tables import GUIDE, frame_of, recommendations

import vaeaudit as va
from vaeaudit.report import Figure, Math, Page, Section, Table, Text


def page(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> Page:
    """The report."""
    coverage = frame_of(results, "coverage")
    auto = coverage[coverage["method"] == "auto"]
    verdict = (
        f"Use `auto`: its 95 % intervals hold the truth in {auto['coverage'].mean():.1%} of data over "
        f"{len(auto)} mismatched settings (lowest {auto['coverage'].min():.1%}), and it says which data it "
        "could not settle."
    )
    optional = (  # (kind of frame, section); left out where this run has none
        ("bracket", _bracket_section),
        ("annealing", _annealing_section),
        ("large", _large_section),
        ("gap", _gap_section),
        ("trained", _trained_section),
    )
    frames = {name: frame_of(results, name) for name, _ in optional}
    return Page(
        name="estimator_calibration",
        title="Which estimate of log p(x) can be believed",
        question="How often do the intervals for log p(x) hold the truth, what do they cost, and which method "
        "should be used when?",
        verdict=verdict,
        findings=findings(results),
        sections=[
            _coverage_section(coverage, recommendations(results)),
            _bias_section(frame_of(results, "bias")),
            *(section(frames[name]) for name, section in optional if len(frames[name])),
        ],
    )


def _coverage_section(coverage: pd.DataFrame, recommended: pd.DataFrame) -> Section:
    plotted = coverage.assign(
        line=coverage["method"].map({"iw": "encoder, interval where given", "auto": "auto"})
    )
    delta = coverage[coverage["method"] == "iw"].assign(
        line="encoder, ± 1.96 se", coverage=lambda f: f["coverage_delta"]
    )
    lines = pd.concat([plotted, delta])[["latents", "scale", "shift", "line", "coverage"]]
    by_scale = lines.groupby(["scale", "line"], as_index=False, sort=True)["coverage"].mean()
    return Section(
        "Which to use when",
        [
            Table("guide", "Which estimate of log p(x) to use when.", GUIDE),
            Text(
                "The settings are linear-Gaussian models, whose log p(x) is exact, under an encoder whose "
                "scale and mean are wrong by a known factor and shift. A proposal is judged by pilot draws "
                "of its own: draws that miss the tail give a small estimate and a small k̂ together, so "
                "a decision by the draws themselves keeps the worst intervals."
            ),
            Math(
                r"\log \hat p(x) = \log \frac{1}{K} \sum_{k=1}^{K} \frac{p(x, z_k)}{r(z_k)}",
                "Importance weighting with proposal $r$.",
            ),
            Table("recommendations", "Coverage of 95 % intervals by method.", recommended),
            Table(
                "coverage",
                "Every setting. scale: σ of q over the posterior's; shift: of its mean, in posterior sds.",
                coverage.round(4),
                max_rows=80,
                note="coverage: of the intervals given; coverage_delta: value ± 1.96 se on all data; "
                "coverage_mean: of means of 20 data.",
            ),
            _lines(
                "coverage_by_scale",
                "Coverage against the encoder's scale mismatch, averaged over latents and shifts.",
                "Coverage of three kinds of interval over the scale of q relative to the posterior.",
                by_scale,
                x="scale",
                y="coverage",
                hue="line",
                x_label="scale of q / scale of the posterior",
                y_label="coverage",
                reference=0.95,
                reference_label="95 %",
            ),
        ],
    )


def _bias_section(bias: pd.DataFrame) -> Section:
    slopes = bias.assign(line="log p̂", size=-bias["bias"])
    rest = bias.assign(line="after the correction", size=np.abs(bias["bias_corrected"]))
    decay = pd.concat([slopes, rest])[["num_samples", "line", "size"]].reset_index(drop=True)
    return Section(
        "Bias",
        [
            _lines(
                "bias_over_samples",
                "Size of the bias over the number of draws.",
                "Bias of the log estimate over K on logarithmic axes, before and after the correction.",
                decay,
                x="num_samples",
                y="size",
                hue="line",
                log_x=True,
                log_y=True,
                x_label="draws K",
                y_label="|bias|, nats",
            ),
            Table("bias", "Bias against K (5 latents, q 1.5 times too wide).", bias.round(6)),
        ],
    )


def _bracket_section(brackets: pd.DataFrame) -> Section:
    width = brackets.assign(line=brackets["latents"].astype(str) + " latents")
    return Section(
        "Brackets from annealing forward and back",
        [
            _lines(
                "bracket_over_cost",
                "Gap between the two bounds over the cost.",
                "Gap between reverse and forward annealing bounds over gradients per datum.",
                width[["gradients_per_datum", "line", "gap"]].assign(gap=lambda f: f["gap"].abs()),
                x="gradients_per_datum",
                y="gap",
                hue="line",
                log_x=True,
                log_y=True,
                x_label="gradients per datum",
                y_label="|gap|, nats",
            ),
            Table("bracket", "Brackets on simulated data.", brackets.round(4)),
        ],
    )


def _annealing_section(annealing: pd.DataFrame) -> Section:
    return Section(
        "Annealing",
        [
            Text(
                "Intervals from 16 annealed chains, given where eight further chains, which enter nothing "
                "else, spread by at most 0.4 nats."
            ),
            Table("annealing", "Coverage of annealing's intervals.", annealing.round(4)),
        ],
    )


def _large_section(large: pd.DataFrame) -> Section:
    return Section(
        "Models of MNIST's size",
        [
            Text(
                "On data simulated from the model the annealing bracket holds log p(x); meets_bracket is "
                "the share of intervals given that meet it. The time leaves out compilation."
            ),
            Table("large", "Methods on a model of MNIST's size.", large.round(4)),
        ],
    )


def _gap_section(gaps: pd.DataFrame) -> Section:
    return Section(
        "The inference gap on training and test data",
        [
            Math(
                r"\log p(x) - L(q_\phi) = [\log p(x) - \max_q L(q)] + [\max_q L(q) - L(q_\phi)]",
                "Approximation gap and amortization gap.",
            ),
            Table("gap", "Both parts with 95 % intervals, nats per datum.", gaps.round(4)),
        ],
    )


def _trained_section(trained: pd.DataFrame) -> Section:
    return Section(
        "Trained models",
        [
            Text("VAEs trained on binary digits; quadrature gives the truth at 2 latents."),
            Table("trained", "Methods on trained models.", trained.round(4)),
        ],
    )


def _lines(name: str, caption: str, alt: str, frame: pd.DataFrame, **options: Any) -> Figure:
    return Figure(name, caption, alt, functools.partial(va.figures.curves, frame, **options), frame)
