"""The page of the calibration study: which estimate of log p(x) to believe; every sentence from the tables."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

import vaeaudit as va
from vaeaudit.report import Figure, Finding, Math, Page, Section, Table, Text

LOW, HIGH = 0.94, 0.96
GROUP = 20  # data per simulated data set, as in the study


def gather(results: Mapping[str, va.CellResult], name: str) -> pd.DataFrame:
    """All frames of one kind in one."""
    parts = [r.frames[name] for r in results.values() if name in r.frames]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def recommendations(results: Mapping[str, va.CellResult]) -> pd.DataFrame:
    """Per method: settings, refusals, and the lowest and highest coverage of the intervals given."""
    frame = gather(results, "coverage")
    rows = []
    for method, part in frame.groupby("method", sort=False):
        given = part[part["refused"] < 0.95]
        rows.append(
            {
                "method": "iw, encoder as proposal" if method == "iw" else method,
                "settings": len(part),
                "settings with intervals": len(given),
                "refused": part["refused"].mean(),
                "coverage, lowest": given["coverage"].min(),
                "coverage, mean": given["coverage"].mean(),
                "coverage, highest": given["coverage"].max(),
                "coverage of data-set means": given["coverage_mean"].mean(),
                "1.96 se, lowest": part["coverage_delta"].min(),
            }
        )
    return pd.DataFrame(rows).round(3)


def _noise(replications: float) -> float:
    return 3 * float(np.sqrt(0.95 * 0.05 / replications))


def slope(frame: pd.DataFrame) -> float:
    """Slope of log |bias| on log K over the numbers whose bias is ten standard errors from zero."""
    clear = frame[np.abs(frame["bias"]) > 10 * frame["bias_se"]]
    clear = clear[clear["num_samples"] >= 16]
    if len(clear) < 3:
        return float("nan")
    return float(np.polyfit(np.log(clear["num_samples"]), np.log(-clear["bias"]), 1)[0])


def _findings(results: Mapping[str, va.CellResult]) -> list[Finding]:
    frame, brackets, trained = (gather(results, n) for n in ("coverage", "bracket", "trained"))
    auto, plain = frame[frame["method"] == "auto"], frame[frame["method"] == "iw"]
    wobble = _noise(auto["replications"].min())
    off = auto[(auto["coverage"] < LOW - wobble) | (auto["coverage"] > HIGH + wobble)]
    found = [
        Finding(
            "warn" if len(off) else "pass",
            f"`auto`: its intervals hold the truth in {auto['coverage'].min():.1%} to "
            f"{auto['coverage'].max():.1%} of data over {len(auto)} settings; {auto['refused'].mean():.1%} "
            "are refused.",
            f"{int(auto['replications'].min())} replications a setting: three standard errors are "
            f"{wobble:.1%}. Outside 94–96 % beyond that: {len(off)} settings.",
        )
    ]
    worst = plain.loc[plain["coverage_delta"].idxmin()]
    found.append(
        Finding(
            "warn",
            f"The encoder as proposal with value ± 1.96 se holds the truth in as few as "
            f"{worst['coverage_delta']:.1%} of data.",
            f"At {int(worst['latents'])} latents with q {worst['scale']} times as wide as the posterior. "
            f"Where pilot draws refuse it ({worst['refused']:.0%} here), no interval is given.",
            "Use `auto`: it fits a proposal to each datum's posterior where the encoder's is too poor.",
        )
    )
    found.append(
        Finding(
            "pass" if auto["coverage_mean"].min() >= LOW - 3 * wobble else "warn",
            f"Means of {GROUP} data: `auto`'s intervals hold the true mean in {auto['coverage_mean'].min():.1%} to "
            f"{auto['coverage_mean'].max():.1%}.",
            "Groups are drawn anew from the same data, so these figures are less certain than those per datum.",
        )
    )
    benign = plain[plain["coverage_delta"] >= LOW]
    if len(benign):
        same = auto.merge(benign[["latents", "scale", "shift"]])
        found.append(
            Finding(
                "pass" if same["refused"].max() <= 0.05 else "warn",
                f"In the {len(benign)} benign settings `auto` refuses at most {same['refused'].max():.1%} of data; "
                f"the encoder alone, judged by its pilot draws, up to {benign['refused'].max():.0%}.",
                "Benign: the encoder's value ± 1.96 se would have held the truth in at least 94 % of data.",
            )
        )
    rate = slope(gather(results, "bias"))
    found.append(
        Finding(
            "pass" if abs(rate + 1) < 0.15 else "warn",
            f"The bias of log p̂ falls as K to the power {rate:.2f}.",
            "Its leading term is −se²/2; the mean over data is corrected by it.",
        )
    )
    if len(brackets):
        last = brackets.groupby("latents").tail(1)
        text = "; ".join(
            f"{int(r.latents)} latents: gap {r.gap:.3f} nats at {int(r.gradients_per_datum):,} gradients a datum"
            for r in last.itertuples()
        )
        found.append(
            Finding(
                "pass" if brackets["holds_mean"].all() else "warn",
                f"Annealing brackets hold the mean log p(x) in {brackets['holds_mean'].mean():.0%} of runs. {text}.",
                f"Per datum they hold it in {last['holds_per_datum'].min():.0%} or more at the longest runs.",
            )
        )
    two = trained[(trained["latents"] <= 3) & (trained["method"] == "auto")] if len(trained) else trained
    if len(two):
        row = two.iloc[0]
        found.append(
            Finding(
                "pass" if row["within_0.05_or_flagged"] >= 0.99 else "warn",
                f"On a trained 2-latent model `auto` is within 0.05 nat of quadrature for {row['within_0.05']:.1%} "
                f"of data; {row['refused']:.1%} are flagged.",
                f"Worst error {row['worst_error']:.3f} nat.",
            )
        )
    return found


def page(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> Page:
    """The report."""
    coverage, bias, brackets, trained = (
        gather(results, n) for n in ("coverage", "bias", "bracket", "trained")
    )
    auto = coverage[coverage["method"] == "auto"]
    plotted = coverage.assign(
        line=coverage["method"].map({"iw": "encoder, interval where given", "auto": "auto"})
    )
    delta = coverage[coverage["method"] == "iw"].assign(
        line="encoder, ± 1.96 se", coverage=lambda f: f["coverage_delta"]
    )
    lines = pd.concat([plotted, delta])[["latents", "scale", "shift", "line", "coverage"]]
    by_scale = lines.groupby(["scale", "line"], as_index=False, sort=True)["coverage"].mean()
    slopes = bias.assign(line="log p̂", size=-bias["bias"])
    rest = bias.assign(line="after the correction", size=np.abs(bias["bias_corrected"]))
    decay = pd.concat([slopes, rest])[["num_samples", "line", "size"]].reset_index(drop=True)
    sections = [
        Section(
            "Which to use when",
            [
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
                Table("recommendations", "Coverage of 95 % intervals by method.", recommendations(results)),
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
        ),
        Section(
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
        ),
    ]
    if len(brackets):
        width = brackets.assign(line=brackets["latents"].astype(str) + " latents")
        sections.append(
            Section(
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
                    Table("bracket", "Brackets on 100 simulated data.", brackets.round(4)),
                ],
            )
        )
    if len(trained):
        sections.append(
            Section(
                "Trained models",
                [
                    Text("VAEs trained on binary digits; quadrature gives the truth at 2 latents."),
                    Table("trained", "Methods on trained models.", trained.round(4)),
                ],
            )
        )
    verdict = (
        f"Use `auto`: its 95 % intervals hold the truth in {auto['coverage'].mean():.1%} of data over "
        f"{len(auto)} mismatched settings (lowest {auto['coverage'].min():.1%}), and it says which data it "
        "could not settle."
    )
    return Page(
        name="estimator_calibration",
        title="Which estimate of log p(x) can be believed",
        question="How often do the intervals for log p(x) hold the truth, what do they cost, and which method "
        "should be used when?",
        verdict=verdict,
        findings=_findings(results),
        sections=sections,
    )


def _lines(name: str, caption: str, alt: str, frame: pd.DataFrame, **options: Any) -> Figure:
    return Figure(name, caption, alt, functools.partial(va.figures.curves, frame, **options), frame)
