"""What the calibration study found: every sentence from the tables."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from _calibration_tables import frame_of, slope

import vaeaudit as va
from vaeaudit.report import Finding

LOW, HIGH = 0.94, 0.96
GROUP = 20  # data per simulated data set, as in the study


def _held(brackets: pd.DataFrame) -> float:
    return float(np.average(brackets["holds_per_datum"], weights=brackets["num_data"]))


def _noise(replications: float) -> float:
    return 3 * float(np.sqrt(0.95 * 0.05 / replications))


def findings(results: Mapping[str, va.CellResult]) -> list[Finding]:
    """What the tables say, in plain words."""
    frame, brackets, trained = (frame_of(results, n) for n in ("coverage", "bracket", "trained"))
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
    rate = slope(frame_of(results, "bias"))
    found.append(
        Finding(
            "info",
            "How the bias of log p̂ falls with K is not measured here.",
            "Fewer than three numbers of draws, from 16 on, have a bias ten standard errors from 0.",
            "Take more replications, as the larger presets do.",
        )
        if math.isnan(rate)
        else Finding(
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
    annealing, gaps, large = (frame_of(results, n) for n in ("annealing", "gap", "large"))
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
