"""The page of the study on the aggregate posterior: every sentence is computed from the tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import vaeaudit as va
from vaeaudit.report.page import Figure, Finding, Math, Page, Section, Table, Text

SCORES = ("mig", "disentanglement", "completeness", "informativeness", "sap")
IN_BATCH, RIGHT, COLUMN, PER_LATENT = (
    "in batch",
    "stratified",
    "stratified, own weight in column 0",
    "stratified, weight once per latent",
)


def gather(results: Mapping[str, va.CellResult]) -> dict[str, pd.DataFrame]:
    """Stack each kind of frame over all cells."""
    frames: dict[str, list[pd.DataFrame]] = {}
    for result in results.values():
        for name, frame in result.frames.items():
            frames.setdefault(name, []).append(frame)
    return {name: pd.concat(parts, ignore_index=True) for name, parts in frames.items()}


# ------------------------------------------------------------------------------ tables of the tables


def over_seeds(quantities: pd.DataFrame) -> pd.DataFrame:
    """Outer hull over seeds of each quantity's 95 % bounds, and the middle of its values or brackets."""
    frame = quantities.copy()
    frame["middle"] = frame["value"].fillna((frame["lower"] + frame["upper"]) / 2)
    return frame.groupby(["group", "objective", "quantity"], sort=False, as_index=False).agg(
        middle=("middle", "mean"),
        lower=("lower", "min"),
        upper=("upper", "max"),
        saturated=("saturated", "any"),
        num_seeds=("seed", "nunique"),
    )


def ranking(hull: pd.DataFrame, group: str, quantity: str) -> tuple[str, list[str]]:
    """Objective with the lowest upper end, and those that its interval does not exclude."""
    part = hull[(hull["group"] == group) & (hull["quantity"] == quantity)]
    best = part.loc[part["upper"].idxmin()]
    rivals = part[(part["lower"] <= best["upper"]) & (part["objective"] != best["objective"])]
    return str(best["objective"]), list(rivals["objective"])


def reversals(hull: pd.DataFrame, group: str) -> list[tuple[str, str]]:
    """Pairs (a, b): a's rate certainly above b's, and yet a's q(z) certainly closer to the prior."""
    table = hull[hull["group"] == group].set_index(["quantity", "objective"])[["lower", "upper"]]
    rate, distance = table.loc["rate"], table.loc["sliced_wasserstein"]
    return [
        (a, b)
        for a in rate.index
        for b in rate.index
        if rate["lower"][a] > rate["upper"][b] and distance["upper"][a] < distance["lower"][b]
    ]


def score_differences(scores: pd.DataFrame) -> pd.DataFrame:
    """Each objective's scores less the ELBO's from the same seed, with a t interval over seeds."""
    base = scores[scores["objective"] == "elbo"].set_index("seed")
    rows = []
    for objective, part in scores[scores["objective"] != "elbo"].groupby("objective", sort=False):
        paired = part.set_index("seed")
        for name in SCORES:
            difference = (paired[name] - base[name]).dropna()
            n = len(difference)
            half = math.nan
            if n > 1:
                half = float(stats.t.isf(0.025, n - 1) * difference.std(ddof=1) / math.sqrt(n))
            mean = float(difference.mean())
            rows.append(
                {
                    "objective": objective,
                    "score": name,
                    "difference": mean,
                    "lower": mean - half,
                    "upper": mean + half,
                    "num_seeds": n,
                }
            )
    return pd.DataFrame(rows)


def plateaus(units: pd.DataFrame) -> pd.DataFrame:
    """Per objective: on how many seeds a plateau exists, and how the count moves with the threshold."""
    return units.groupby(["group", "objective"], sort=False, as_index=False).agg(
        seeds_with_plateau=("plateau", "sum"),
        num_seeds=("seed", "nunique"),
        widest_gap_decades=("gap_decades", "mean"),
        count_at_0_0001=("count_at_0.0001", "mean"),
        count_at_0_01=("count_at_0.01", "mean"),
        count_at_0_1=("count_at_0.1", "mean"),
    )


def disagreement(definitions: pd.DataFrame) -> pd.DataFrame:
    """Active units per definition, averaged over seeds, one column per definition."""
    table = definitions.pivot_table(
        index=["group", "objective"], columns="definition", values="count", aggfunc="mean", sort=False
    )
    return table.reset_index().rename_axis(columns=None)


def _row(frame: pd.DataFrame, **where: Any) -> pd.Series:
    mask = pd.Series(True, index=frame.index)
    for column, value in where.items():
        mask &= frame[column] == value
    return frame[mask].iloc[0]


# ------------------------------------------------------------------------------ findings


def _known_findings(forms: pd.DataFrame, known: pd.DataFrame) -> list[Finding]:
    information = {"quantity": "mutual_information"}
    truth = float(_row(forms, **information)["truth"])
    fifty = _row(forms, form=IN_BATCH, batch_size=50, **information)
    largest = forms[(forms["form"] == IN_BATCH) & (forms["quantity"] == "mutual_information")]
    sits = bool((largest["value"] <= largest["log_batch_size"] + 1e-9).all())
    column = _row(forms, form=COLUMN, batch_size=128, **information)
    right = _row(forms, form=RIGHT, batch_size=128, **information)
    often = _row(forms, form=PER_LATENT, batch_size=128, **information)
    inside = known[(known["lower"] <= known["truth"]) & (known["truth"] <= known["upper"])]
    most = known["num_given"].max()
    ours = _row(known, num_given=most, **information)
    negative = forms[(forms["quantity"] == "total_correlation") & (forms["value"] < 0)]
    found = [
        Finding(
            "warn",
            f"An estimate within one batch of 50 reports {fifty['value']:.2f} nats of mutual information where "
            f"{truth:.2f} are true",
            f"log 50 = {math.log(50):.2f} is a ceiling; the in-batch value stayed at or below log(batch) at "
            f"{'every' if sits else 'not every'} batch size tried.",
            "Use all data: `va.aggregate_posterior`.",
        ),
        Finding(
            "warn",
            f"The copied weight matrix (own weight in column 0) is off by {column['value'] - truth:+.2f} nats, "
            f"the right one by {right['value'] - truth:+.2f}, the one that counts its weight per latent by "
            f"{often['value'] - truth:+.2f}",
            f"Batch of 128 of {most} data, exact answer {truth:.2f}.",
            "Even the right matrix is biased, since a logarithm of an unbiased mean is not unbiased.",
        ),
        Finding(
            "pass" if len(inside) == len(known) else "warn",
            f"Our brackets hold the exact value in {len(inside)} of {len(known)} cases",
            f"With {most} data the mutual information lies between {ours['lower']:.2f} and {ours['upper']:.2f} "
            f"({truth:.2f} is true).",
        ),
    ]
    if len(negative):
        worst = negative.loc[negative["value"].idxmin()]
        found.append(
            Finding(
                "info",
                f"Minibatch total correlation turns negative in {len(negative)} of "
                f"{int((forms['quantity'] == 'total_correlation').sum())} settings, down to {worst['value']:.2f} nats",
                f"A KL cannot be negative; the worst case is '{worst['form']}' at batch {worst['batch_size']}.",
            )
        )
    return found


def _matching_findings(hull: pd.DataFrame) -> list[Finding]:
    found = []
    for group in hull["group"].unique():
        part = hull[hull["group"] == group]
        names = {
            "on aggregate (sliced W₂²)": "sliced_wasserstein",
            "on aggregate (KL of q(z))": "marginal_kl",
            "per datum (rate)": "rate",
            "per datum (E W₂²)": "per_datum_wasserstein",
        }
        words = []
        for label, quantity in names.items():
            best, rivals = ranking(hull, group, quantity)
            words.append(
                f"{label}: {best}" + (f" (not told apart from {', '.join(rivals)})" if rivals else "")
            )
        best, _ = ranking(hull, group, "sliced_wasserstein")
        rate = _row(part, objective=best, quantity="rate")["middle"]
        why = f"{best} has a rate of {rate:.1f} nats" + (
            ": it matches by carrying next to nothing about x. " if rate < 0.5 else ". "
        )
        pairs = [f"{a} over {b}" for a, b in reversals(hull, group)]
        why += (
            "Higher rate and yet certainly closer on aggregate: " + ", ".join(pairs) + "."
            if pairs
            else "No pair is certain to be ordered differently by rate and by distance on aggregate."
        )
        found.append(Finding("info", f"{group}: closest to the prior {'; '.join(words)}", why))
        full = part[(part["quantity"] == "mutual_information") & part["saturated"]]
        if len(full):
            found.append(
                Finding(
                    "warn",
                    f"{group}: the ceiling log N binds for {', '.join(full['objective'])}",
                    "Their mutual information is known from below by log N alone; the upper ends stand on "
                    "held-out densities.",
                    "More data lift the ceiling; `data_needed_lower` and `data_needed_upper` in the table of "
                    "quantities say how many.",
                )
            )
        below = part[(part["quantity"] == "marginal_kl") & (part["lower"] > 0.1)]
        if len(below):
            words = [f"{r.objective} ≥ {r.lower:.1f}" for r in below.itertuples()]
            found.append(
                Finding(
                    "info",
                    f"{group}: q(z) differs from the prior for certain under {len(below)} of "
                    f"{part['objective'].nunique()} objectives",
                    "KL(q(z) ‖ p(z)) in nats: " + ", ".join(words) + ".",
                )
            )
    return found


def _unit_findings(units: pd.DataFrame, definitions: pd.DataFrame) -> list[Finding]:
    found = []
    table = plateaus(units)
    for group, part in table.groupby("group", sort=False):
        with_plateau = part[part["seeds_with_plateau"] == part["num_seeds"]]["objective"]
        without = part[part["seeds_with_plateau"] == 0]["objective"]
        penalty = part[part["objective"].str.startswith("wasserstein_penalty")]
        word = ""
        if len(penalty):
            row = penalty.iloc[0]
            word = (
                f" Under the parameter penalty {int(row['seeds_with_plateau'])} of {int(row['num_seeds'])} seeds "
                f"show one; its count is {row['count_at_0_01']:.1f} at 0.01 and {row['count_at_0_1']:.1f} at 0.1."
            )
        found.append(
            Finding(
                "info",
                f"{group}: a plateau of the active-unit count exists on every seed for "
                f"{', '.join(with_plateau) or 'no objective'}, on none for {', '.join(without) or 'no objective'}",
                "A plateau is a decade of thresholds on which the count stays, in 95 % of resamples." + word,
            )
        )
    spread = definitions.groupby(["group", "objective", "seed"])["count"].agg(["min", "max"])
    differ = int((spread["min"] < spread["max"]).sum())
    widest = (spread["max"] - spread["min"]).max()
    found.append(
        Finding(
            "warn" if differ else "pass",
            f"The definitions of an active unit disagree on {differ} of {len(spread)} models, by up to {widest} units",
            "Variance of the mean, mean rate, (ε, δ)-collapse, mean scale, and loss when ablated answer different "
            "questions.",
            "Report the definition and the threshold with every count.",
        )
    )
    return found


def _score_findings(scores: pd.DataFrame) -> list[Finding]:
    found = []
    for objective, part in score_differences(scores).groupby("objective", sort=False):
        up, down = part[part["lower"] > 0], part[part["upper"] < 0]
        words = [f"{r.score} {r.difference:+.3f} [{r.lower:+.3f}, {r.upper:+.3f}]" for r in part.itertuples()]
        if len(up):
            what = f"{objective} raises {', '.join(up['score'])} on sprites beyond the scatter between seeds"
        else:
            what = f"{objective} raises no disentanglement score on sprites beyond the scatter between seeds"
        if len(down):
            what += f" and lowers {', '.join(down['score'])}"
        seeds = int(part["num_seeds"].iloc[0])
        found.append(
            Finding("info", what, f"Difference to the ELBO over {seeds} seeds: " + "; ".join(words) + ".")
        )
    return found


# ------------------------------------------------------------------------------ page and summary


def summary(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> pd.DataFrame:
    """Bounds over seeds per objective, one row each."""
    del settings
    hull = over_seeds(gather(results)["quantities"])
    rows = []
    for (group, objective), part in hull.groupby(["group", "objective"], sort=False):
        row = {"group": group, "objective": objective}
        for name in ("rate", "mutual_information", "marginal_kl", "sliced_wasserstein"):
            at = part[part["quantity"] == name].iloc[0]
            row[name] = f"{at['lower']:.2f} to {at['upper']:.2f}"
        row["saturated"] = "yes" if part["saturated"].any() else "no"
        rows.append(row)
    return pd.DataFrame(rows)


def page(
    settings: Mapping[str, Any], results: Mapping[str, va.CellResult], *, groups: Mapping[str, Any]
) -> Page:
    """Build the report from the stored frames."""
    frames = gather(results)
    hull = over_seeds(frames["quantities"])
    pairs = [(g, a, b) for g in hull["group"].unique() for a, b in reversals(hull, g)]
    verdict = "Half a truth: rate = mutual information + KL(q(z) ‖ p(z)), and the KL term pays for both. "
    if pairs:
        g, a, b = pairs[0]
        rates = [_row(hull, group=g, objective=o, quantity="rate")["middle"] for o in (a, b)]
        verdict += (
            f"Matching per datum and on aggregate are different goals: in {len(pairs)} certain pairs the "
            f"objective with the higher rate lies closer to the prior on aggregate; on {g}, {a} has a rate of "
            f"{rates[0]:.1f} nats against {rates[1]:.1f} of {b}."
        )
    else:
        verdict += (
            "No pair of objectives here is certain to be ordered differently per datum and on aggregate."
        )
    findings = [
        *_known_findings(frames["forms"], frames["known"]),
        *_matching_findings(hull),
        *_unit_findings(frames["units"], frames["definitions"]),
    ]
    sections = [_known_section(frames), _matching_section(frames, hull, groups), _unit_section(frames)]
    if "scores" in frames:
        findings += _score_findings(frames["scores"])
        sections.append(_score_section(frames["scores"]))
    return Page(
        name="aggregate_posterior",
        title="Does the KL term make q(z) match the prior?",
        question="How far is the aggregate posterior from the prior, and what do published estimates of that say?",
        verdict=verdict,
        findings=findings,
        sections=sections,
        provenance={"settings": dict(settings)},
    )


def _known_section(frames: Mapping[str, pd.DataFrame]) -> Section:
    forms, known = frames["forms"], frames["known"]
    information = forms[forms["quantity"] == "mutual_information"]
    truth = float(information["truth"].iloc[0])
    return Section(
        "What published estimates return where the answer is known",
        [
            Text(
                "Six correlated latents with $\\mu(x)$ Gaussian and $\\sigma$ constant: everything is known in "
                "closed form. Each estimate sees one minibatch at a time."
            ),
            Math(r"\mathbb{E}\,\mathrm{KL}(q(z|x)\|p(z)) = I_q(x;z) + \mathrm{KL}(q(z)\|p(z))"),
            Figure(
                "ceiling",
                "Mutual information from one minibatch, by batch size; the dotted line is the exact value.",
                "Lines of estimated mutual information over batch size for five forms against the exact value.",
                lambda: va.figures.curves(
                    information,
                    x="batch_size",
                    y="value",
                    hue="form",
                    lower="lower",
                    upper="upper",
                    x_label="batch size",
                    y_label="mutual information (nats)",
                    log_x=True,
                    reference=truth,
                    reference_label="exact",
                ),
                information,
            ),
            Table("known_brackets", "Our brackets on the same model, by number of data.", known,
                  columns=("num_given", "quantity", "value", "lower", "upper", "truth", "saturated"), note=(
                "Ends carry the sampling error of the data; `saturated` says that log N binds."
            )),
            Table("forms", "All minibatch estimates.", forms, max_rows=30),
        ],
    )  # fmt: skip


def _matching_section(
    frames: Mapping[str, pd.DataFrame], hull: pd.DataFrame, groups: Mapping[str, Any]
) -> Section:
    blocks: list[Any] = [
        Text(
            "Validation and test data together, which no model saw. A bar is the hull over seeds of 95 % brackets. "
            "$W_2^2(q(z), p) \\le \\mathbb{E}\\,W_2^2(q(z|x), p)$: the parameter penalty bounds the aggregate "
            "distance from above and can be far from it."
        )
    ]
    for group in hull["group"].unique():
        part = frames["quantities"][frames["quantities"]["group"] == group]
        for name, chosen in (
            ("split", ("rate", "mutual_information", "marginal_kl")),
            ("distance", ("per_datum_wasserstein", "dimwise_wasserstein", "sliced_wasserstein")),
        ):
            shown = part[part["quantity"].isin(chosen)]
            blocks.append(
                Figure(
                    f"{name}_{group.replace(' ', '_')}",
                    f"{', '.join(chosen)}: {groups[group]['title']}, every seed.",
                    f"Horizontal intervals of {', '.join(chosen)} per objective.",
                    lambda shown=shown, name=name: va.figures.evidence_intervals(
                        shown,
                        label="objective",
                        x_label="nats" if name == "split" else "squared latent units",
                    ),
                    shown,
                )
            )
    blocks += [
        Table("over_seeds", "Bounds per objective: hull over seeds of the 95 % intervals.", hull),
        Table("quantities", "Every model, every quantity.", frames["quantities"], max_rows=40),
    ]
    return Section("Who matches the prior on aggregate, who per datum", blocks)


def _unit_section(frames: Mapping[str, pd.DataFrame]) -> Section:
    curve = frames["unit_curve"]
    first = curve[(curve["seed"] == curve["seed"].min()) & (curve["group"] == curve["group"].iloc[-1])]
    return Section(
        "How many units are active?",
        [
            Figure(
                "unit_curve",
                f"Active units against the threshold, with bootstrap bands: {first['group'].iloc[0]}, first seed.",
                "Step lines of active-unit counts over thresholds from 1e-4 to 1e-1, one per objective.",
                lambda: va.figures.active_unit_curve(first),
                first,
            ),
            Table("definitions", "Active units under each definition, mean over seeds.",
                  disagreement(frames["definitions"])),
            Table("plateaus", "Is there a plateau of the count?", plateaus(frames["units"])),
            Table("latents", "The numbers behind the definitions, per latent.", frames["latents"], max_rows=24),
        ],
    )  # fmt: skip


def _score_section(scores: pd.DataFrame) -> Section:
    table = va.tables.over_seeds(scores, by=["objective"], values=[*SCORES, "rate", "distortion"])
    shown = table[table["quantity"].isin(SCORES) & np.isfinite(table["value"].astype(float))]
    return Section(
        "Does β > 1 disentangle?",
        [
            Text("Sprites with five known factors: shape, scale, rotation, x, y. Intervals are over seeds."),
            Figure(
                "scores",
                "Disentanglement scores per objective with intervals over seeds.",
                "Points with intervals for five scores per objective.",
                lambda: va.figures.evidence_intervals(shown, label="objective", x_label="score"),
                shown,
            ),
            Table(
                "score_differences", "Difference to the ELBO from the same seed.", score_differences(scores)
            ),
            Table("scores_over_seeds", "Scores, rate and distortion over seeds.", table),
            Table("scores", "Every model.", scores, max_rows=30),
        ],
    )
