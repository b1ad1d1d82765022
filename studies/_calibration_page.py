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


def _held(brackets: pd.DataFrame) -> float:
    return float(np.average(brackets["holds_per_datum"], weights=brackets["num_data"]))


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
                f"Each datum's bracket holds its log p(x) in {_held(brackets):.1%} of "
                f"{int(brackets['num_data'].sum()):,} data, and in {brackets['holds_per_datum'].min():.1%} or more in "
                "every run.",
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
    return found + _more(results)


def _more(results: Mapping[str, va.CellResult]) -> list[Finding]:
    """Annealing, the inference gap, and models of MNIST's size."""
    annealing, gaps, large = (gather(results, n) for n in ("annealing", "gap", "large"))
    found = []
    given = annealing[annealing["refused"] < 0.95] if len(annealing) else annealing
    if len(given):
        wobble = 3 * given["coverage_se"]
        off = given[(given["coverage"] < LOW - wobble) | (given["coverage"] > HIGH + wobble)]
        found.append(
            Finding(
                "warn" if len(off) else "pass",
                f"Annealing: its intervals hold the truth in {given['coverage'].min():.1%} to "
                f"{given['coverage'].max():.1%} of data over {len(given)} settings; up to "
                f"{annealing['refused'].max():.1%} of data are refused.",
                "Refused by eight chains that enter nothing else: chains that missed the tail have a small "
                "spread and a small estimate together. Outside 94–96 % beyond three standard errors: "
                f"{len(off)} settings.",
                ""
                if len(off) == 0
                else "Raise num_temperatures until the spread of the chains is below 0.2 nats.",
            )
        )
    if len(gaps):
        parts = []
        for latents, part in gaps.groupby("latents"):
            table = part.set_index(["quantity", "split"])["value"]
            parts.append(
                f"{latents} latents: amortization {table['amortization_gap', 'train']:.2f} nats on training data and "
                f"{table['amortization_gap', 'test']:.2f} on test data, approximation "
                f"{table['approximation_gap', 'train']:.2f} and {table['approximation_gap', 'test']:.2f}"
            )
        found.append(
            Finding(
                "pass",
                "The encoder costs more on data it was not trained on; the Gaussian family costs about the same. "
                + "; ".join(parts)
                + "."
                if _encoder_generalises_worse(gaps)
                else "Inference gap in parts. " + "; ".join(parts) + ".",
                "Intervals are in the table.",
            )
        )
    if len(large):
        simulated = large[large["on"] == "simulated data"].set_index("method")
        name, model = large["data"].iloc[0], large["model"].iloc[0]
        auto = simulated.loc["auto"]
        found.append(
            Finding(
                "pass" if not auto["meets_bracket"] < 0.9 else "warn",
                f"{model}, trained on {name}: the encoder's intervals are refused for "
                f"{simulated.loc['iw/encoder', 'refused']:.0%} of data, `auto`'s for {auto['refused']:.0%}.",
                f"On data simulated from the model the gap of the annealing bracket is {auto['bracket_gap']:.3f} "
                f"nats, and the intervals that `auto` gives meet it in {auto['meets_bracket']:.0%} of data. The "
                f"encoder's values lie {simulated.loc['iw/encoder', 'below_bracket']:.2f} nats below the bracket's "
                "lower end on average (negative: inside or above).",
                ""
                if "mnist" in name
                else "The bundled digits at 28 × 28; for MNIST put its files into a folder "
                "that holds mnist/, name it with --data-dir, and take --preset full.",
            )
        )
    return found


def _encoder_generalises_worse(gaps: pd.DataFrame) -> bool:
    """Whether the amortization gap's intervals on test data lie above those on training data throughout."""
    part = gaps[gaps["quantity"] == "amortization_gap"].pivot(index="latents", columns="split")
    return bool((part["lower", "test"] > part["upper", "train"]).all())


GUIDE = pd.DataFrame(
    [
        ("1 to 3 latents", "quadrature", "Exact up to a convergence error that is reported."),
        (
            "any model in JAX",
            "auto",
            "The encoder where pilot draws find it good, a proposal fitted to each datum elsewhere, annealing last.",
        ),
        (
            "a decoder outside JAX",
            "auto, or iw with the defensive mixture",
            "No gradients: more data stay unsettled, and are named.",
        ),
        (
            "many data, one number per model",
            "iw with the adapted proposal",
            "One fit per datum and one pass; refused data are named.",
        ),
        (
            "data that stay unsettled",
            "ais_log_evidence with more temperatures",
            "The spread of the chains falls as one over the root of the number of temperatures.",
        ),
        (
            "a proof that the method works on this model",
            "evidence_bracket",
            "Bounds on both sides, on data simulated from the model.",
        ),
        (
            "comparison with published numbers only",
            "iw with the encoder",
            "What papers report: biased low, and its interval is mostly refused.",
        ),
    ],
    columns=["case", "use", "because"],
)


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
                    Table("bracket", "Brackets on simulated data.", brackets.round(4)),
                ],
            )
        )
    annealing, gaps, large = (gather(results, n) for n in ("annealing", "gap", "large"))
    if len(annealing):
        sections.append(
            Section(
                "Annealing",
                [
                    Text(
                        "Intervals from 16 annealed chains, given where eight further chains, which enter nothing "
                        "else, spread by at most 0.4 nats."
                    ),
                    Table("annealing", "Coverage of annealing's intervals.", annealing.round(4)),
                ],
            )
        )
    if len(large):
        sections.append(
            Section(
                "Models of MNIST's size",
                [
                    Text(
                        "On data simulated from the model the annealing bracket holds log p(x); meets_bracket is "
                        "the share of intervals given that meet it. The time leaves out compilation."
                    ),
                    Table("large", "Methods on a model of MNIST's size.", large.round(4)),
                ],
            )
        )
    if len(gaps):
        sections.append(
            Section(
                "The inference gap on training and test data",
                [
                    Math(
                        r"\log p(x) - L(q_\phi) = [\log p(x) - \max_q L(q)] + [\max_q L(q) - L(q_\phi)]",
                        "Approximation gap and amortization gap.",
                    ),
                    Table("gap", "Both parts with 95 % intervals, nats per datum.", gaps.round(4)),
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
