# ruff: noqa: E501
"""The page of the reproduced table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from _published_findings import findings, shortcomings, verdict
from _published_model import DEVIATIONS, SOURCE, full_schedule, schedule
from _published_tables import (
    evidence_table,
    long_table,
    order_table,
    published_table,
    redraw_sd,
    row_name,
    shown_table,
    units_table,
)

import vaeaudit as va
from vaeaudit.report import Figure, Math, Page, Section, Table, Text


def summary(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> pd.DataFrame:
    """Ours beside the published values."""
    table = published_table(settings, va.tables.gather(results)["models"])
    names = ["row", "nll_bound", "lower", "upper", "published", "agrees", "units_range", "published_units"]
    return table[names]


def page(settings: Mapping[str, Any], results: Mapping[str, va.CellResult]) -> Page:
    """The report."""
    frames = va.tables.gather(results)
    models = frames["models"]
    table = published_table(settings, models)
    order = order_table(settings, models, results)
    first = settings["seeds"][0]
    return Page(
        name="published_tables",
        title="A published table, run again",
        question="Do training, $L_{5000}$ and active units here give the numbers of the IWAE paper's MNIST table?",
        verdict=verdict(settings, table),
        findings=findings(settings, table, order, models),
        sections=[
            _comparison_section(settings, models, table, order),
            _evidence_section(models),
            _unit_section(models, frames["units"], first),
            _training_section(settings, frames["history"], first, results),
            _deviation_section(settings),
            _number_section(table, models),
        ],
        provenance={"records": {key: result.record for key, result in results.items()}},
    )


def _comparison_section(
    settings: Mapping[str, Any], models: pd.DataFrame, table: pd.DataFrame, order: pd.DataFrame
) -> Section:
    complete = full_schedule(settings)
    k_samples = settings["bound_samples"]
    return Section(
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
                    long_table(table),
                    label="row",
                    x_label=f"−L (nats per image), {k_samples:,} draws here",
                ),
                long_table(table),
            ),
            Text(
                "**What agreement means.** The published values come from one run each. A value agrees if it lies where "
                "one more run of ours would be expected (95 %): spread over seeds, plus the effect of another "
                "binarisation of the test images on both sides. It does not mean that either number is "
                "$\\log p(x)$: $L_K$ is a lower bound on it, and the next section says how far below it lies. "
                f"Another binarisation moves the mean by a standard deviation of {redraw_sd(models):.2f} nats here."
            ),
            Table(
                "order",
                "Every pair of rows: published difference and ours (nats; positive means that the published order holds).",
                order,
                formats={"published": "+.2f", "here": "+.2f", "lower": "+.2f", "upper": "+.2f"},
            ),
        ],
    )


def _evidence_section(models: pd.DataFrame) -> Section:
    return Section(
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
    )


def _unit_section(models: pd.DataFrame, units: pd.DataFrame, first: int) -> Section:
    units = units.query("seed == @first")
    units = units.assign(row=[row_name(m, k) for m, k in zip(units["model"], units["draws"], strict=True)])
    return Section(
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
    )


def _training_section(
    settings: Mapping[str, Any], history: pd.DataFrame, first: int, results: Mapping[str, va.CellResult]
) -> Section:
    passes = schedule(settings["growth"])[0]
    history = history.assign(
        objective=[row_name(m, k) for m, k in zip(history["objective"], history["draws"], strict=True)]
    )
    return Section(
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
    )


def _deviation_section(settings: Mapping[str, Any]) -> Section:
    return Section(
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
    )


def _number_section(table: pd.DataFrame, models: pd.DataFrame) -> Section:
    return Section(
        "Every model",
        [
            Table("published_numbers", "The first table with each number in a column of its own.", table),
            Table("models", "One row per trained model.", models),
        ],
        collapsed=True,
    )


def _pictures(results: Mapping[str, va.CellResult]) -> Any:
    rows, names = [], []
    for key, result in results.items():
        for name, array in result.arrays.items():
            if name.startswith("prior "):
                rows.append(array)
                names.append(row_name(name.removeprefix("prior "), int(key.rpartition("=")[2])))
    return va.figures.image_grid(np.stack(rows), names)
