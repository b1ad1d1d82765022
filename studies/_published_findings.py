# ruff: noqa: E501
"""What the reproduced table says, in plain words: every sentence is computed from the tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from _published_model import full_schedule, schedule

from vaeaudit.report import Finding


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
