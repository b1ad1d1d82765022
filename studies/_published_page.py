# ruff: noqa: E501
"""The page of the reproduced table: every sentence is computed from the tables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from _published_model import DEVIATIONS, PUBLISHED, SOURCE, full_schedule, schedule
from scipy import stats

import vaeaudit as va
from vaeaudit.report import Figure, Finding, Math, Page, Section, Table, Text


def row_name(model: str, draws: int) -> str:
    """A row of the published table by name."""
    return f"{model}, k = {draws}"


def gather(results: Mapping[str, va.CellResult]) -> dict[str, pd.DataFrame]:
    """Stack each kind of frame over all cells."""
    frames: dict[str, list[pd.DataFrame]] = {}
    for result in results.values():
        for name, frame in result.frames.items():
            frames.setdefault(name, []).append(frame)
    return {name: pd.concat(parts, ignore_index=True) for name, parts in frames.items()}


def measured_as(model: str, draws: int) -> tuple[str, int]:
    """The trained model that stands for a row: with one draw the IWAE's is the VAE's."""
    return ("VAE", 1) if draws == 1 else (model, draws)


def published_table(settings: Mapping[str, Any], models: pd.DataFrame) -> pd.DataFrame:
    """Each published row beside ours: mean over seeds, its interval, and the range of one more run."""
    complete = full_schedule(settings)
    rows = []
    for model, draws, nll, units in PUBLISHED:
        if draws not in settings["draws"]:
            continue
        name, k = measured_as(model, draws)
        part = models[(models["model"] == name) & (models["draws"] == k) & ~models["diverged"].astype(bool)]
        mean, (low, high), (run_low, run_high) = _intervals(
            -part["bound"].to_numpy(float), part["redraw_sd"].to_numpy(float)
        )
        within = "yes" if run_low <= nll <= run_high else "no"
        agreement = within if complete and not math.isnan(run_low) else "not judged"
        count = part["units_published_definition"].astype(float)
        rows.append(
            {
                "row": row_name(model, draws),
                "nll_bound": mean,
                "lower": low,
                "upper": high,
                "published": nll,
                "difference": mean - nll if settings["data"] == "mnist" else math.nan,
                "run_lower": run_low,
                "run_upper": run_high,
                "agrees": agreement,
                "active_units": float(count.mean()),
                "units_range": "–" if count.empty else _range(count),
                "published_units": units,
                "num_seeds": len(part),
            }
        )
    table = pd.DataFrame(rows)
    table.insert(9, "rank", _ranks(table["nll_bound"]))
    table.insert(10, "published_rank", _ranks(table["published"]))
    return table


def _range(count: pd.Series) -> str:
    low, high = int(count.min()), int(count.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _ranks(values: pd.Series) -> list[float]:
    return list(values.round(9).rank(method="min"))


def _intervals(
    nll: np.ndarray, redraw_sd: np.ndarray
) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """Mean over seeds, its t interval, and the range of one more run with a test binarisation of its own."""
    nan = (math.nan, math.nan)
    if nll.size == 0:
        return math.nan, nan, nan
    mean = float(nll.mean())
    if nll.size < 2:
        return mean, nan, nan
    t, variance = float(stats.t.ppf(0.975, nll.size - 1)), float(nll.var(ddof=1))
    half = t * math.sqrt(variance / nll.size)
    binarisation = 2 * float(np.nanmean(redraw_sd**2)) if np.isfinite(redraw_sd).any() else 0.0
    more = t * math.sqrt(variance * (1 + 1 / nll.size) + binarisation)
    return mean, (mean - half, mean + half), (mean - more, mean + more)


def order_table(
    settings: Mapping[str, Any], models: pd.DataFrame, results: Mapping[str, va.CellResult]
) -> pd.DataFrame:
    """Every pair of rows: does the one that was published as better come out better here?"""
    distinct = [row for row in PUBLISHED if row[1] in settings["draws"] and measured_as(*row[:2]) == row[:2]]
    ranked = sorted(distinct, key=lambda row: row[2])
    sound = models[~models["diverged"].astype(bool)].set_index(["model", "draws", "seed"])["bound"]
    rows = []
    for better, worse in itertools.combinations(ranked, 2):
        pairs = [
            (seed, sound[(*better[:2], seed)] - sound[(*worse[:2], seed)])
            for seed in settings["seeds"]
            if (*better[:2], seed) in sound.index and (*worse[:2], seed) in sound.index
        ]
        value, lower, upper = _paired(pairs, better, worse, results)
        verdict = "supported" if lower > 0 else "contradicted" if upper < 0 else "undecided"
        rows.append(
            {
                "better": row_name(*better[:2]),
                "than": row_name(*worse[:2]),
                "published": worse[2] - better[2],
                "here": value,
                "lower": lower,
                "upper": upper,
                "verdict": verdict,
            }
        )
    columns = ["better", "than", "published", "here", "lower", "upper", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def _paired(
    pairs: list[tuple[int, float]], better: Any, worse: Any, results: Mapping[str, va.CellResult]
) -> tuple[float, float, float]:
    """Mean difference with its interval: over seeds, or over the test data where there is one seed."""
    if not pairs:
        return math.nan, math.nan, math.nan
    if len(pairs) == 1:
        values = {
            row[0]: pd.Series(results[f"measure k={row[1]}"].arrays[f"bound {row[0]} {pairs[0][0]}"])
            for row in (better, worse)
        }
        if better[0] == worse[0]:  # one name, two k
            values = {"better": None, "worse": None} | {
                side: pd.Series(results[f"measure k={row[1]}"].arrays[f"bound {row[0]} {pairs[0][0]}"])
                for side, row in (("better", better), ("worse", worse))
            }
            first, second = "better", "worse"
        else:
            first, second = better[0], worse[0]
        found = va.tables.compare_paired(
            {second: values[second], first: values[first]}, quantity="bound", baseline=second
        ).iloc[0]
        return float(found["difference"]), float(found["lower"]), float(found["upper"])
    frame = pd.DataFrame(pairs, columns=["seed", "difference"]).assign(what="bound")
    found = va.tables.over_seeds(frame, by=["what"], values=["difference"]).iloc[0]
    return float(found["value"]), float(found["lower"]), float(found["upper"])


def _span(value: float, lower: float, upper: float, digits: int = 2) -> str:
    """A number with its interval, as people write it."""
    if not math.isfinite(value):
        return "–"
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{lower:.{digits}f}, {upper:.{digits}f}]"


def _judged(value: float, lower: float, upper: float, verdict: str) -> str:
    """A number with its interval, or with the reason why there is none."""
    text = _span(value, lower, upper)
    return text if verdict in ("ok", "exact") else f"{text} ({verdict})"


def evidence_table(models: pd.DataFrame) -> pd.DataFrame:
    """One row per model: L_K, our log p(x) and annealing alone, on the same images."""
    sound = models[~models["diverged"].astype(bool)]
    return pd.DataFrame(
        [
            {
                "row": row_name(r.model, r.draws),
                "seed": r.seed,
                "L_K": r.bound_there,
                "log p(x)": _judged(r.evidence, r.evidence_lower, r.evidence_upper, r.evidence_verdict),
                "annealed": f"{r.annealed_share:.0%}",
                "annealing alone": _judged(r.ais, r.ais_lower, r.ais_upper, r.ais_verdict),
            }
            for r in sound.itertuples()
        ]
    )


def units_table(models: pd.DataFrame) -> pd.DataFrame:
    """One row per model: the published count, ours with its interval, and whether there is a plateau."""
    sound = models[~models["diverged"].astype(bool)]
    rows = []
    for r in sound.itertuples():
        plateau = f"{int(r.plateau_units)} over {r.plateau_decades:.1f} decades" if r.plateau else "none"
        rows.append(
            {
                "row": row_name(r.model, r.draws),
                "seed": r.seed,
                "500 training images": int(r.units_published_definition),
                "test images": _span(r.units, r.units_lower, r.units_upper, 0),
                "plateau": plateau,
            }
        )
    return pd.DataFrame(rows)


def shown_table(table: pd.DataFrame) -> pd.DataFrame:
    """The published table as the page shows it: intervals beside their values."""
    return pd.DataFrame(
        [
            {
                "row": r.row,
                "here": _span(r.nll_bound, r.lower, r.upper),
                "published": r.published,
                "difference": r.difference,
                "agrees": r.agrees,
                "rank (published)": "–" if math.isnan(r.rank) else f"{r.rank:.0f} ({r.published_rank:.0f})",
                "units (published)": f"{r.units_range} ({r.published_units})",
            }
            for r in table.itertuples()
        ]
    )


def shortcomings(settings: Mapping[str, Any]) -> list[str]:
    """What keeps these settings from being the paper's."""
    passes = schedule(settings["growth"])[0]
    found = []
    if settings["data"] != "mnist":
        found.append(f"the data are {settings['data']}, not MNIST")
    if passes != 3280:
        found.append(f"{passes:,} passes over the data in place of 3,280")
    if settings["num_train"] is not None:
        found.append(f"the first {settings['num_train']:,} training images only")
    if list(settings["hidden"]) != [200, 200] or settings["latent_dim"] != 50:
        widths = "-".join(map(str, settings["hidden"]))
        found.append(
            f"hidden layers {widths} and {settings['latent_dim']} latents in place of 200-200 and 50"
        )
    if settings["batch_size"] != 20:
        found.append(f"minibatches of {settings['batch_size']} in place of 20")
    if settings["num_test"] < 10_000:
        found.append(f"the first {settings['num_test']:,} test images only")
    if settings["bound_samples"] != 5000:
        found.append(f"L with {settings['bound_samples']:,} draws in place of 5,000")
    left = sorted({1, 5, 50} - set(settings["draws"]))
    if left:
        found.append(f"no rows for k = {', '.join(map(str, left))}")
    if len(settings["seeds"]) < 2:
        found.append("one seed, so that no interval over runs can be given")
    return found


def findings(
    settings: Mapping[str, Any], table: pd.DataFrame, order: pd.DataFrame, models: pd.DataFrame
) -> list[Finding]:
    """What the tables say, in plain words."""
    found = []
    short = shortcomings(settings)
    judged = table[table["agrees"] != "not judged"]
    if not full_schedule(settings):
        found.append(
            Finding(
                "warn",
                "This run reproduces nothing: it is a shortened one, and agreement is not judged.",
                f"Its settings differ from the paper's: {'; '.join(short)}.",
                "Run the full preset on a GPU: `vaeaudit run published_tables --preset full --data-dir DIR`, where DIR holds mnist/.",
            )
        )
    elif len(judged):
        no = judged[judged["agrees"] == "no"]
        found.append(
            Finding(
                "pass" if no.empty else "warn",
                f"{len(judged) - len(no)} of {len(judged)} published values lie where one more run of ours would be expected.",
                "All rows agree."
                if no.empty
                else "Outside: "
                + "; ".join(
                    f"{r.row} (published {r.published:.2f}, here {r.nll_bound:.2f})" for r in no.itertuples()
                )
                + ".",
            )
        )
    supported, against = (int((order["verdict"] == v).sum()) for v in ("supported", "contradicted"))
    if len(order):
        single = len(settings["seeds"]) < 2
        found.append(
            Finding(
                "info" if against or not supported or not full_schedule(settings) else "pass",
                f"Of {len(order)} pairs of rows, {supported} come out in the published order, {against} in the reverse one, "
                f"{len(order) - supported - against} are undecided.",
                (
                    "One seed: the intervals cover the test data alone, not other runs."
                    if single
                    else "Intervals are over seeds, paired."
                )
                + ("" if settings["data"] == "mnist" else " The data are not the paper's."),
            )
        )
    sound = models[~models["diverged"].astype(bool)]
    if len(sound) < len(models):
        found.append(Finding("unreliable", f"{len(models) - len(sound)} of {len(models)} runs diverged."))
    trusted = sound[sound["evidence_verdict"] == "ok"]
    if len(trusted):
        gap = trusted["evidence"] - trusted["bound_there"]
        size = f"$L_{{{settings['bound_samples']}}}$"
        found.append(
            Finding(
                "info",
                f"{size} lies {gap.mean():.2f} nats below log p(x) on average ({gap.min():.2f} to {gap.max():.2f} over "
                f"{len(trusted)} models): a value published from it understates the model by about as much."
                if gap.mean() > 0.05
                else f"{size} and log p(x) agree within {gap.abs().max():.2f} nats for all {len(trusted)} models.",
                f"Compared on the same {int(trusted['num_evidence'].iloc[0])} test images, with our interval around log p(x).",
            )
        )
    else:
        found.append(
            Finding(
                "unreliable",
                "No model has a log p(x) that could be vouched for on all data compared; how far L lies below it is open.",
                "; ".join(sorted(set(sound["evidence_verdict"]))),
            )
        )
    good = sound["bound_reliable"]
    found.append(
        Finding(
            "info" if good.mean() > 0.5 else "warn",
            f"For {good.mean():.0%} of the test images the importance weights of $L_{{{settings['bound_samples']}}}$ pass their "
            "diagnostic; for the others it is a lower bound and no estimate.",
            "Each image's Pareto k̂, effective sample size and largest weight are looked at.",
        )
    )
    flat = sound["plateau"].astype(bool)
    found.append(
        Finding(
            "pass" if flat.all() else "warn",
            f"{int(flat.sum())} of {len(flat)} models have a plateau: a range of thresholds of at least a decade on which the "
            "number of active units does not change.",
            ""
            if flat.all()
            else "For the others the published threshold of 0.01 decides the count, not the model.",
        )
    )
    return found


def summary(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> pd.DataFrame:
    """Ours beside the published values."""
    table = published_table(settings, gather(results)["models"])
    names = ["row", "nll_bound", "lower", "upper", "published", "agrees", "units_range", "published_units"]
    return table[names]


def verdict(settings: Mapping[str, Any], table: pd.DataFrame) -> str:
    """The answer in one or two sentences."""
    known = table.dropna(subset=["nll_bound"])
    best = known.loc[known["nll_bound"].idxmin()] if len(known) else None
    if not full_schedule(settings):
        lead = (
            "" if best is None else f" The lowest bound here is {best['nll_bound']:.2f} nats ({best['row']})."
        )
        return (
            "Not a reproduction: these settings are shorter or smaller than the paper's, and the published values are "
            f"printed only to show what a full run is held against.{lead}"
        )
    judged = table[table["agrees"] != "not judged"]
    yes = int((judged["agrees"] == "yes").sum())
    return (
        f"{yes} of {len(judged)} published values are reproduced: they lie in the range in which one more run of ours is "
        "expected with 95 % probability."
        if len(judged)
        else "Agreement is not judged: one seed gives no range for another run."
    )


def page(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> Page:
    """The report."""
    frames = gather(results)
    models = frames["models"]
    table = published_table(settings, models)
    order = order_table(settings, models, results)
    first = settings["seeds"][0]
    units = frames["units"].query("seed == @first")
    units = units.assign(row=[row_name(m, k) for m, k in zip(units["model"], units["draws"], strict=True)])
    history = frames["history"]
    history = history.assign(
        objective=[row_name(m, k) for m, k in zip(history["objective"], history["draws"], strict=True)]
    )
    passes, k_samples = schedule(settings["growth"])[0], settings["bound_samples"]
    complete = full_schedule(settings)
    return Page(
        name="published_tables",
        title="A published table, run again",
        question="Do training, L_5000 and active units here give the numbers of the IWAE paper's MNIST table?",
        verdict=verdict(settings, table),
        findings=findings(settings, table, order, models),
        sections=[
            Section(
                "Ours beside the published values",
                [
                    Text(
                        f"**Published:** {SOURCE} One stochastic layer, negative log-likelihood by $L_{{5000}}$ in nats per "
                        "image, lower is better. "
                        + (
                            f"**Here:** the same settings, {len(settings['seeds'])} seeds."
                            if complete
                            else f"**Here, a shortened run:** {'; '.join(shortcomings(settings))}."
                        )
                    ),
                    Table(
                        "published",
                        f"$-L_{{{k_samples}}}$ per test image (nats): mean over seeds with its 95 % interval, the published value, "
                        "its rank, and active units by the published definition (the range over seeds).",
                        shown_table(table),
                        formats={"published": ".2f", "difference": "+.2f"},
                        note="IWAE with k = 1 is the same run as VAE with k = 1. Table published_numbers also holds the range of one more run.",
                    ),
                    Figure(
                        "published_intervals",
                        "Our mean over seeds with its interval, and the published value where the data are the same.",
                        "Horizontal intervals per row of the table, with the published value beside each on MNIST.",
                        lambda: va.figures.evidence_intervals(
                            _long(table),
                            label="row",
                            x_label=f"−L (nats per image), {k_samples:,} draws here",
                        ),
                        _long(table),
                    ),
                    Text(
                        "**What agreement means.** The published values come from one run each. A value agrees if it lies where "
                        "one more run of ours would be expected (95 %): spread over seeds, plus the effect of another "
                        "binarisation of the test images on both sides. It does not mean that either number is "
                        "$\\log p(x)$: $L_K$ is a lower bound on it, and the next section says how far below it lies. "
                        f"Another binarisation moves the mean by a standard deviation of {_redraw(models):.2f} nats here."
                    ),
                    Table(
                        "order",
                        "Every pair of rows: published difference and ours (nats; positive means that the published order holds).",
                        order,
                        formats={"published": "+.2f", "here": "+.2f", "lower": "+.2f", "upper": "+.2f"},
                    ),
                ],
            ),
            Section(
                "How far below log p(x) is the bound?",
                [
                    Math("L_K = E \\log \\frac{1}{K} \\sum_{k} w_k \\le \\log p(x)"),
                    Text(
                        "Each model is measured three ways on the same test images: by the paper's bound with the encoder as "
                        "proposal; by `log_evidence` with a proposal adapted to each image's posterior, and annealing where that does not "
                        "settle; and by annealed importance sampling alone. "
                        "Intervals here cover the Monte-Carlo error alone."
                    ),
                    Table(
                        "evidence",
                        f"Nats per image, means over {int(models['num_evidence'].max())} test images; 'annealed' is the share of them "
                        "whose log p(x) comes from annealing because the adapted proposal's weights did not pass.",
                        evidence_table(models),
                        formats={"L_K": ".2f"},
                        note="No interval where an estimate cannot be vouched for on all of these images.",
                    ),
                ],
            ),
            Section(
                "Active units",
                [
                    Text(
                        "Published: latents whose posterior mean has a variance above 0.01; the authors' code takes the first "
                        "500 training images. Ours: the same threshold on the measured test images, with a bootstrap interval, "
                        "and the widest range of thresholds on which the count stays the same."
                    ),
                    Table(
                        "units",
                        "Counts per model.",
                        units_table(models),
                        formats={"widest_gap_decades": ".2f"},
                    ),
                    Figure(
                        "active_units",
                        f"Active units over the threshold, seed {first}; the published threshold is marked.",
                        "Step curves of the number of active units against the threshold, one per row.",
                        lambda: va.figures.active_unit_curve(units, hue="row"),
                        units,
                    ),
                ],
            ),
            Section(
                "Training",
                [
                    Text(
                        f"{passes:,} passes in eight stages, the learning rate falling from {settings['learning_rate']:g} by a "
                        "factor $10^{-1/7}$ from stage to stage; the paper's stages have $3^i$ passes, here "
                        f"{settings['growth']:g} to the power of i, rounded."
                    ),
                    Figure(
                        "training",
                        "Means over each pass on the training data.",
                        "ELBO, rate and distortion over passes, one line per row of the table.",
                        lambda: va.figures.training_curves(history),
                        history,
                    ),
                    Figure(
                        "prior_draws",
                        f"Draws from the prior through each decoder (probabilities), seed {first}.",
                        "Rows of generated digits, one row per row of the table.",
                        lambda: _pictures(results),
                    ),
                ],
            ),
            Section(
                "Every deviation",
                [
                    Table(
                        "deviations",
                        "What the paper or its code does, and what is done here at the full preset.",
                        pd.DataFrame(DEVIATIONS, columns=["what", "paper and its code", "here"]),
                    ),
                    Text(
                        "This run departs further: " + "; ".join(shortcomings(settings)) + "."
                        if shortcomings(settings)
                        else "Nothing further in this run."
                    ),
                ],
            ),
            Section(
                "Every model",
                [
                    Table(
                        "published_numbers", "The first table with each number in a column of its own.", table
                    ),
                    Table("models", "One row per trained model.", models),
                ],
                collapsed=True,
            ),
        ],
        provenance={"records": {key: result.record for key, result in results.items()}},
    )


def _redraw(models: pd.DataFrame) -> float:
    values = models["redraw_sd"].dropna().to_numpy(float)
    return float(np.sqrt(np.mean(values**2))) if values.size else math.nan


def _long(table: pd.DataFrame) -> pd.DataFrame:
    """Tidy frame of the figure: ours with intervals, published without where the data are the same."""
    ours = table[["row", "lower", "upper"]].assign(value=table["nll_bound"], quantity="here")
    parts = [ours]
    if table["difference"].notna().any():
        parts.append(
            table[["row"]].assign(
                value=table["published"], quantity="published", lower=math.nan, upper=math.nan
            )
        )
    return pd.concat(parts, ignore_index=True)[["row", "quantity", "value", "lower", "upper"]]


def _pictures(results: Mapping[str, va.CellResult]) -> Any:
    rows, names = [], []
    for key, result in results.items():
        for name, array in result.arrays.items():
            if name.startswith("prior "):
                rows.append(array)
                names.append(row_name(name.removeprefix("prior "), int(key.rpartition("=")[2])))
    return va.figures.image_grid(np.stack(rows), names)
