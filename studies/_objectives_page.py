"""The page of the study on training objectives: every sentence in it is computed from the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

import vaeaudit as va
from vaeaudit.report import Figure, Finding, Math, Page, Section, Table, Text

QUANTITIES = ("log_evidence", "elbo", "inference_gap", "rate", "distortion", "active_units")


def gather(results: Mapping[str, va.CellResult]) -> dict[str, pd.DataFrame]:
    """Stack each kind of frame over all cells."""
    frames: dict[str, list[pd.DataFrame]] = {}
    for result in results.values():
        for name, frame in result.frames.items():
            frames.setdefault(name, []).append(frame)
    return {name: pd.concat(parts, ignore_index=True) for name, parts in frames.items()}


def by_seed(frames: Mapping[str, pd.DataFrame], names: tuple[str, ...] = QUANTITIES) -> pd.DataFrame:
    """One row per group, objective and seed; the middle of a bracket where there is no point estimate.

    A quantity without an interval of its own is left out: it must not enter a mean or a comparison.
    """
    q = frames["quantities"]
    value = q["value"].fillna((q["lower"] + q["upper"]) / 2)
    q = q.assign(value=value.where(q["verdict"].isin(["ok", "exact"])))
    wide = q.pivot(index=["group", "objective", "seed"], columns="quantity", values="value")
    order = q[["group", "objective", "seed"]].drop_duplicates()
    return order.merge(wide.reset_index(), on=["group", "objective", "seed"])[
        ["group", "objective", "seed", *names]
    ]


def against_elbo(frames: Mapping[str, pd.DataFrame], quantity: str = "log_evidence") -> pd.DataFrame:
    """Difference to the ELBO's model of the same seed, averaged over seeds with a t interval."""
    wide = by_seed(frames, (quantity,))
    base = wide[wide["objective"] == "elbo"][["group", "seed", quantity]]
    paired = wide.merge(base, on=["group", "seed"], suffixes=("", "_elbo"))
    paired["difference"] = paired[quantity] - paired[f"{quantity}_elbo"]
    paired = paired[(paired["objective"] != "elbo") & paired["difference"].notna()]
    if paired.empty:  # every log p(x) was refused
        columns = ["group", "objective", "value", "lower", "upper", "num_seeds"]
        return pd.DataFrame(columns=columns)
    return va.tables.over_seeds(paired, by=["group", "objective"], values=["difference"])


def bound_table(bounds: pd.DataFrame) -> pd.DataFrame:
    """Share of held-out data certified above log p(x), seeds together."""
    pooled = bounds.groupby(["group", "objective", "claims_bound"], sort=False, as_index=False).agg(
        num_data=("num_data", "sum"),
        num_exceeding=("num_exceeding", "sum"),
        num_undecided=("num_undecided", "sum"),
        mean_excess=("mean_excess", "mean"),
        largest_excess=("largest_excess", "max"),
    )
    pooled.insert(5, "share_exceeding", pooled["num_exceeding"] / pooled["num_data"])
    return pooled


def _names(objectives: Any) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(objectives)) or "none"


def _span(row: Any) -> str:
    return f"{row.value:+.2f} [{row.lower:+.2f}, {row.upper:+.2f}]"


def findings(settings: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> list[Finding]:
    """What the tables say, in plain words."""
    found = []
    if "bounds" in frames:
        table = bound_table(frames["bounds"])
        above = table[table["num_exceeding"] > 0]
        broken = above[above["claims_bound"]]
        if len(broken):
            found.append(
                Finding(
                    "unreliable",
                    f"Objectives that claim to be lower bounds were seen above log p(x): {_names(broken['objective'])}.",
                    what_to_do="Treat the other numbers with suspicion: an estimator or an objective is wrong.",
                )
            )
        kept = table[~table["objective"].isin(above["objective"])]["objective"]
        data = int(table.groupby("objective")["num_data"].sum().max())
        found.append(
            Finding(
                "pass",
                f"Never above log p(x) where that is exact ({data} held-out data per objective): {_names(kept)}.",
                "Tested per datum, with an error of 5 % for all data and models of this page together.",
            )
        )
        where = [
            f"`{name}` ({', '.join(f'{r.share_exceeding:.0%} in {r.group}' for r in rows.itertuples())})"
            for name, rows in above.groupby("objective", sort=False)
        ]
        if where:
            found.append(
                Finding(
                    "warn",
                    f"Above log p(x) on held-out data: {', '.join(where)}.",
                    "These are not lower bounds: their value can rise while log p(x) falls.",
                    "Do not report such a value as an ELBO or compare it between models.",
                )
            )
    differences = against_elbo(frames)
    for kind, verb in (("wasserstein_penalty(1)", "Replacing the KL by $\\mu^2+(\\sigma-1)^2$"),):
        for row in differences[differences["objective"] == kind].itertuples():
            clear = row.upper < 0 or row.lower > 0
            found.append(
                Finding(
                    "warn" if row.upper < 0 else "info",
                    f"{verb} changed held-out log p(x) by {_span(row)} nats per datum in `{row.group}`"
                    + ("" if clear else ", not distinguishable from 0 over these seeds")
                    + ".",
                    f"Mean difference to the ELBO's model of the same seed, {row.num_seeds} seeds, t interval.",
                )
            )
    if "implied" in frames:
        found += _implied_findings(frames["implied"])
    found += _rate_findings(frames)
    refused = frames["quantities"][frames["quantities"]["verdict"].isin(["unreliable", "lower bound only"])]
    refused = refused[refused["quantity"] == "log_evidence"]
    if len(refused):
        found.append(
            Finding(
                "unreliable",
                f"log p(x) has no interval for {len(refused)} models, trained under {_names(refused['objective'])}.",
                "The importance weights of some data are too uneven; the value shown is low in expectation.",
                "Use the preset `full`, which escalates to better proposals and annealing for such data.",
            )
        )
    return found


def _implied_findings(implied: pd.DataFrame) -> list[Finding]:
    wide = implied[implied["quantity"] == "elbo"].pivot_table(
        index=["group", "objective", "kl_weight", "seed"], columns="reading", values="value", sort=False
    )
    found = []
    mean = wide.groupby(level=["group", "objective", "kl_weight"], sort=False).mean().reset_index()
    for group, rows in mean[mean["kl_weight"] != 1].groupby("group", sort=False):
        text = "; ".join(
            f"`{r.objective}` {r.implied:.2f} instead of {r.nominal:.2f}" for r in rows.itertuples()
        )
        found.append(
            Finding(
                "info",
                f"Under a Gaussian decoder, weighting the KL by β assumes β times the noise variance. Read so, the "
                f"models in `{group}` have a held-out ELBO (nats) of: {text}.",
                "The argmax is that of the rescaled model; only the normaliser differs.",
                "Report log p(x) with the implied variance.",
            )
        )
    return found


def _rate_findings(frames: Mapping[str, pd.DataFrame]) -> list[Finding]:
    wide = by_seed(frames, ("mutual_information", "marginal_kl")).dropna()
    rows = wide[wide["objective"] == "elbo"].groupby("group", sort=False).mean(numeric_only=True)
    if rows.empty:
        return []
    rate = rows["mutual_information"] + rows["marginal_kl"]
    share = rows["mutual_information"] / rate
    text = "; ".join(f"{share[group]:.0%} of {rate[group]:.2f} nats in `{group}`" for group in rows.index)
    return [
        Finding(
            "info",
            f"Under the ELBO most of the rate is mutual information, not distance to the prior: {text}."
            if (share > 0.5).all()
            else f"Share of the ELBO's rate that is mutual information: {text}.",
            "rate = I(x; z) + KL(q(z) ‖ p(z)), over the finite training set.",
        )
    ]


def verdict(frames: Mapping[str, pd.DataFrame]) -> str:
    """The answer in two sentences."""
    parts = []
    if "bounds" in frames:
        table = bound_table(frames["bounds"])
        above = set(table[table["num_exceeding"] > 0]["objective"])
        kept = [name for name in dict.fromkeys(table["objective"]) if name not in above]
        parts.append(
            f"Of {len(kept) + len(above)} objectives, {len(kept)} stayed below log p(x) on every held-out datum "
            f"where it is known exactly ({_names(kept)}); the others optimise something else."
        )
    best = []
    wide = (
        by_seed(frames, ("log_evidence",)).groupby(["group", "objective"], sort=False).mean(numeric_only=True)
    )
    for group, rows in wide["log_evidence"].dropna().groupby(level="group", sort=False):
        best.append(f"`{rows.idxmax()[1]}` in `{group}`")
    if best:
        parts.append(f"The highest mean held-out log p(x) came from {', '.join(best)}.")
    else:
        parts.append("No log p(x) of this run has an interval to compare models by.")
    return " ".join(parts)


def summary(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> pd.DataFrame:
    """One row per group and objective: means over seeds."""
    frames = gather(results)
    wide = by_seed(frames).groupby(["group", "objective"], sort=False).mean(numeric_only=True)
    table = wide.drop(columns=["seed"]).reset_index()
    if "bounds" in frames:
        shares = bound_table(frames["bounds"])[["group", "objective", "share_exceeding"]]
        table = table.merge(shares, on=["group", "objective"], how="left")
    return table


def page(
    settings: Mapping[str, Any],
    results: Mapping[str, va.CellResult],
    *,
    groups: Mapping[str, Mapping[str, Any]],
) -> Page:
    """Compose the report."""
    frames = gather(results)
    chosen = {name: groups[name] for name in settings["groups"]}
    sections = [
        _design(settings, chosen),
        Section("What each objective reached", _reached(frames, chosen)),
        Section("Who keeps below log p(x)", _bound_blocks(frames)),
        Section("Every model under every objective", _cross_blocks(frames, chosen)),
    ]
    if "implied" in frames:
        sections.append(Section("The decoder variance hidden in β", _implied_blocks(frames)))
    sections.append(Section("What happens to μ and σ", _posterior_blocks(frames, chosen)))
    pictures = _picture_blocks(results, chosen, settings)
    if pictures:
        sections.append(Section("Pictures", pictures))
    sections.append(Section("Training", _training_blocks(frames, chosen)))
    sections.append(Section("All numbers", _all_blocks(frames), collapsed=True))
    hashes = {name: results[f"train {name}"].record["data_sha256"] for name in chosen}
    return Page(
        name="objectives",
        title="What does each training objective actually optimise?",
        question="Which objectives keep below log p(x), what do they do to rate, distortion and the posterior, "
        "and what does that cost in log p(x)?",
        verdict=verdict(frames),
        findings=findings(settings, frames),
        sections=sections,
        provenance={"seeds": list(settings["seeds"]), "data sha256": hashes},
    )


def _design(settings: Mapping[str, Any], chosen: Mapping[str, Any]) -> Section:
    rows = pd.DataFrame([{"group": name, "what": group["title"]} for name, group in chosen.items()])
    return Section(
        "What was done",
        [
            Text(
                f"Each objective trained one VAE per seed ({len(settings['seeds'])} seeds, "
                f"{settings['epochs']} epochs, Adam) in each group below; a seed fixes initial weights, data order "
                f"and noise, so that models of one seed differ in the objective alone. Test-set numbers use "
                f"{settings['num_test']} held-out data; all are in nats per datum."
            ),
            Table("groups", "Groups: data and architecture.", rows),
            Math(
                r"\log p(x) = \underbrace{\mathbb{E}_{q}\left[\log p(x \mid z)\right] - "
                r"\mathrm{KL}(q(z \mid x) \| p(z))}_{\mathrm{ELBO}} + \mathrm{KL}(q(z \mid x) \| p(z \mid x))",
                "The ELBO is the distortion and the rate with their signs; what is missing is the inference gap.",
            ),
            Math(
                r"P = \sum_j \mu_j^2 + (\sigma_j - 1)^2 = W_2^2(q(z \mid x), p(z))",
                "`wasserstein_penalty` puts P in the place of the KL, `half_quadratic` puts "
                "½μ² + (σ−1)², which matches the KL to second order.",
            ),
        ],
    )


def _reached(frames: Mapping[str, pd.DataFrame], chosen: Mapping[str, Any]) -> list[Any]:
    blocks: list[Any] = []
    wide = by_seed(frames, (*QUANTITIES, "mutual_information", "marginal_kl"))
    for group in chosen:
        part = wide[wide["group"] == group].drop(columns="group")
        values = [c for c in part.columns if c not in ("objective", "seed")]
        table = va.tables.over_seeds(part, by=["objective"], values=values)
        table.insert(1, "cell", [_cell(r) for r in table.itertuples()])
        shown = table.pivot(index="objective", columns="quantity", values="cell")
        shown = shown.loc[part["objective"].drop_duplicates(), values].reset_index()
        blocks.append(
            Table(
                f"reached_{group}",
                f"{chosen[group]['title']}: mean over seeds ± half-width of its 95 % t interval, test set; "
                "mutual_information and marginal_kl over the training set's finite mixture.",
                shown,
                note="– marks a quantity that is undefined or refused; see the table of all numbers for why.",
            )
        )
    plane = by_seed(frames, ("rate", "distortion")).dropna()
    for group in chosen:
        part = plane[plane["group"] == group]
        blocks.append(
            Figure(
                f"plane_{group}",
                f"Rate–distortion plane, {chosen[group]['title']}. One point per seed; slanted lines have equal ELBO.",
                f"Scatter of distortion over rate for each objective in group {group}.",
                lambda part=part: va.figures.rate_distortion_plane(part),
                part,
                width="half",
            )
        )
    return blocks


def _cell(row: Any) -> str:
    if np.isnan(row.value):
        return "–"
    half = (row.upper - row.lower) / 2
    return f"{row.value:.2f}" if np.isnan(half) else f"{row.value:.2f} ± {half:.2f}"


def _bound_blocks(frames: Mapping[str, pd.DataFrame]) -> list[Any]:
    if "bounds" not in frames:
        return [Text("No group of this run has an exact log p(x).")]
    return [
        Text(
            "For each held-out datum, is the value of the objective that trained the model above the exact "
            "log p(x) of that model? A datum counts only when the excess is certain: one-sided tests with a "
            "error of 5 % for all data and models of this page together (Holm, Bonferroni). A lower bound must show zero."
        ),
        Table(
            "bound_shares",
            "Share of held-out data on which the objective exceeds log p(x), seeds together.",
            bound_table(frames["bounds"]),
            formats={"share_exceeding": ".1%", "mean_excess": ".2f", "largest_excess": ".2f"},
        ),
        Table("bounds", "The same, per seed, with Clopper–Pearson intervals.", frames["bounds"], max_rows=12),
    ]


def _cross_blocks(frames: Mapping[str, pd.DataFrame], chosen: Mapping[str, Any]) -> list[Any]:
    blocks: list[Any] = [
        Text(
            "Rows: the objective a model was trained under. Columns: the objective it is scored under, on the test "
            "set. The best of each column is framed; if an objective were the same as another, the best "
            "cells would share a row."
        )
    ]
    keys = ["group", "trained_under", "scored_under"]
    mean = frames["cross"].groupby(keys, sort=False, as_index=False)["value"].mean()
    for group in chosen:
        part = mean[mean["group"] == group].drop(columns="group")
        blocks.append(
            Figure(
                f"cross_{group}",
                f"Cross table, {chosen[group]['title']}: mean over seeds, nats per datum.",
                f"Heat map: models trained under each objective, scored under each objective, group {group}.",
                lambda part=part: va.figures.cross_table_heatmap(part),
                part,
            )
        )
    blocks.append(
        Table("cross", "Cross table, per seed, with standard errors.", frames["cross"], max_rows=12)
    )
    return blocks


def _implied_blocks(frames: Mapping[str, pd.DataFrame]) -> list[Any]:
    keys = ["group", "objective", "kl_weight", "reading", "variance", "quantity"]
    table = frames["implied"].groupby(keys, sort=False, as_index=False)["value"].mean()
    wide = table.pivot_table(
        index=["group", "objective", "kl_weight", "reading", "variance"],
        columns="quantity",
        values="value",
        sort=False,
    ).reset_index()
    return [
        Math(
            r"\frac{1}{2 s^2} \| x - \hat{x} \|^2 + \beta\, \mathrm{KL} = \beta \left( "
            r"\frac{1}{2 \beta s^2} \| x - \hat{x} \|^2 + \mathrm{KL} \right)",
            "Weighting the KL by β is the ELBO of a decoder with variance βs², up to the factor β and the normaliser.",
        ),
        Table(
            "implied_variance",
            "The same networks read with the nominal variance s² and with the implied βs²; test set, mean over seeds.",
            wide,
            formats={"variance": ".4g", "kl_weight": "g"},
        ),
        Table("implied", "The same, per seed, with intervals.", frames["implied"], max_rows=8),
    ]


def _posterior_blocks(frames: Mapping[str, pd.DataFrame], chosen: Mapping[str, Any]) -> list[Any]:
    blocks: list[Any] = []
    posterior = frames["posterior"]
    for group in chosen:
        part = posterior[(posterior["group"] == group) & posterior["scale"].notna()]
        blocks.append(
            Figure(
                f"posterior_{group}",
                f"Histograms of μ and σ over data and latents, {chosen[group]['title']}, first seed. "
                "The dotted line is where the KL is least.",
                f"Histograms of posterior means and scales for each objective in group {group}.",
                lambda part=part: va.figures.posterior_histograms(part),
                None,
                width="half",
            )
        )
        active = frames["active"]
        active = active[(active["group"] == group) & (active["seed"] == active["seed"].min())]
        blocks.append(
            Figure(
                f"active_{group}",
                f"Active units over the threshold on Var E[z|x], {chosen[group]['title']}, first seed, "
                "with bootstrap bands. A count means little where its curve has no plateau.",
                f"Step curves of the number of active units over the threshold in group {group}.",
                lambda active=active: va.figures.active_unit_curve(active),
                active,
                width="half",
            )
        )
    return blocks


def _picture_blocks(
    results: Mapping[str, va.CellResult], chosen: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[Any]:
    blocks: list[Any] = []
    for group in chosen:
        cells = {o: results[f"measure {group} {o}"] for o in settings["objectives"]}
        arrays = {o: cell.arrays for o, cell in cells.items() if cell.arrays}
        first = next(iter(arrays.values()), {})
        if not arrays or first["data"].ndim != 3:
            continue
        rows, labels = [first["data"]], ["data"]
        for objective, pictures in arrays.items():
            rows += [pictures["reconstruction"], pictures["prior_sample"]]
            labels += [objective, "  from the prior"]
        if first["loc"].shape[1] == 2:
            blocks += _latent_figures(group, chosen[group]["title"], arrays)
        images = np.stack(rows)
        blocks.append(
            Figure(
                f"pictures_{group}",
                f"Test data, reconstructions from z = μ(x), and decoded prior draws, {chosen[group]['title']}.",
                f"Grid of digit pictures: data, reconstructions and prior samples per objective, group {group}.",
                lambda images=images, labels=labels: va.figures.image_grid(images, labels),
            )
        )
    return blocks


def _latent_figures(group: str, title: str, arrays: Mapping[str, Mapping[str, np.ndarray]]) -> list[Any]:
    """Codes in two dimensions; those far wider than the prior get axes of their own."""
    codes = pd.concat(
        pd.DataFrame({"z0": a["loc"][:, 0], "z1": a["loc"][:, 1], "label": a["labels"], "objective": o})
        for o, a in arrays.items()
    )
    spread = codes.groupby("objective", sort=False)[["z0", "z1"]].std().max(axis=1)
    wide = codes["objective"].map(spread) > 4
    figures = []
    for name, part in (("latents", codes[~wide]), ("latents_wide", codes[wide])):
        if len(part):
            figures.append(
                Figure(
                    f"{name}_{group}",
                    f"Posterior means of the training set, {title}, first seed, coloured by digit; "
                    "circles hold 50 % and 95 % of the prior."
                    + (
                        " On axes of their own: these codes spread far beyond the prior."
                        if "wide" in name
                        else ""
                    ),
                    "Scatter of two-dimensional posterior means for each objective, with prior contours.",
                    lambda part=part: va.figures.latent_scatter(part),
                    part,
                )
            )
    return figures


def _training_blocks(frames: Mapping[str, pd.DataFrame], chosen: Mapping[str, Any]) -> list[Any]:
    blocks: list[Any] = []
    history = frames["history"]
    for group in chosen:
        part = history[(history["group"] == group) & history["elbo"].notna()]
        blocks.append(
            Figure(
                f"training_{group}",
                f"Training curves, {chosen[group]['title']}: thin lines are seeds, bold ones their mean.",
                f"ELBO, rate and distortion over epochs for each objective in group {group}.",
                lambda part=part: va.figures.training_curves(part),
                None,
            )
        )
    blocks.append(
        Table(
            "history",
            "Training history: means over each epoch's batches, and over the validation set.",
            history,
            columns=["group", "objective", "seed", "epoch", "objective_value", "elbo", "rate", "distortion"],
            max_rows=6,
        )
    )
    return blocks


def _all_blocks(frames: Mapping[str, pd.DataFrame]) -> list[Any]:
    return [
        Table(
            "quantities",
            "Every quantity of every model with its 95 % interval and verdict.",
            frames["quantities"],
            max_rows=40,
        ),
        Table(
            "differences", "log p(x) minus that of the ELBO's model of the same seed.", against_elbo(frames)
        ),
        Table("active", "Active units by threshold.", frames["active"], max_rows=8),
    ]
