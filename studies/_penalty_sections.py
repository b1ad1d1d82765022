"""Sections of the study on penalties in the KL's place: gradients along the run, and who loses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from _penalty_figures import alignment, alignment_frame
from _penalty_tables import (
    PENALTY,
    by_region,
    final_cosines,
    losses,
    mean_losses,
    peaks,
    repeatability,
)

import vaeaudit as va
from vaeaudit.report import Figure, Section, Table, Text

PICTURES = 10


def gradient_section(
    frames: Mapping[str, pd.DataFrame], shown: list[str], groups: Mapping[str, Any]
) -> Section:
    """Where each objective's gradient points along its own run."""
    path, heights = frames["path"], frames["heights"]
    blocks: list[Any] = [
        Text(
            "At snapshots of its own run, each objective's gradient is compared with that of log p(x) (decoder "
            "parameters θ) and with the direction that closes $\\mathrm{KL}(q \\| p(z|x))$ (encoder parameters φ). "
            "A cosine of 1 is the same direction, 0 a right angle; the climb is how fast log p(x) rises along a step "
            "of length one. Bands are 95 % intervals; a missing point is a gradient not told apart from zero, or an "
            "estimate that cannot be vouched for (see the notes in the table of cosines). A positive climb at a noisy "
            "iterate is no promise: whether log p(x) rose between snapshots is in the last panel of each figure."
        )
    ]
    for group in [g for g in shown if g in set(path["group"])]:
        frame = alignment_frame(path, heights, group)
        blocks.append(
            Figure(
                f"alignment_{group}",
                f"Along each objective's own run: {groups[group]['title']}.",
                "Panels over epochs, one line per objective: climb of log p(x), cosines in θ and φ, and held-out "
                "log p(x) where it is known.",
                lambda frame=frame: alignment(frame),
                frame,
            )
        )
    stops = [va.stops_climbing(path[path["group"] == g]).assign(group=g) for g in path["group"].unique()]
    blocks += [
        Table(
            "peaks",
            "Where each run's held-out log p(x) peaked, and what further training cost (first seed).",
            peaks(heights),
        ),
        Table(
            "stops_climbing",
            "The last snapshot at which each objective's step in θ still climbs log p(x) beyond doubt.",
            pd.concat(stops, ignore_index=True),
            columns=[
                "group",
                "objective",
                "last_climbing",
                "first_not_climbing",
                "descends",
                "num_unreliable",
            ],
            note="Epochs; – where it climbs up to the last snapshot.",
        ),
        Table(
            "final_cosines",
            "All targets at the last snapshot.",
            final_cosines(path),
            note="Left out: log p(x) does not depend on the encoder (φ), nor W₂²(q, p) on the decoder (θ).",
        ),
    ]
    return Section("When does it stop climbing log p(x)?", blocks)


def data_section(
    frames: Mapping[str, pd.DataFrame],
    results: Mapping[str, va.CellResult],
    shown: list[str],
    groups: Mapping[str, Any],
) -> Section:
    """Which data lose, and whether trainings agree on them."""
    table = losses(frames["per_datum"])
    average = (
        table.groupby(["group", "objective", "datum"], sort=False, as_index=False)
        .agg(
            label=("label", "first"),
            distance=("distance", "first"),
            loss=("loss", "mean"),
            gap=("gap", "mean"),
        )
        .sort_values("loss", ascending=False, kind="stable")
    )
    average["label"] = (
        average["label"].where(average["label"] >= 0).astype("Int64")
    )  # none where there are no classes
    blocks: list[Any] = [
        Table("mean_losses", "Held-out log p(x) lost against the ELBO's model, nats per datum.",
              mean_losses(frames["per_datum"])),
        Table("repeatability", "Do independent trainings agree on which data lose?",
              repeatability(frames["per_datum"])),
        Table("regions", "Loss of log p(x) against the ELBO's model, and gap log p(x) − ELBO, by region of data space: "
              "digits by class, other data by distance from their mean. Means over seeds with 95 % intervals.",
              by_region(frames["per_datum"])),
        Table("per_datum_losses", "Loss of each datum, mean over seeds, worst first.", average, max_rows=10),
    ]  # fmt: skip
    for group in shown:
        x = results[f"data {group}"].arrays["x"]
        part = average[(average["group"] == group) & (average["objective"] == PENALTY)].dropna(
            subset=["loss"]
        )
        if x.ndim == 3 and len(part) >= 2 * PICTURES:
            order = part["datum"].to_numpy()
            pictures = np.stack([x[order[:PICTURES]], x[order[-PICTURES:][::-1]]])
            blocks.append(
                Figure(
                    f"worst_{group}",
                    f"Data on which the penalty loses most and least against the ELBO: {groups[group]['title']}.",
                    "Two rows of pictures: the data that lose most, and those that lose least.",
                    lambda pictures=pictures: va.figures.image_grid(pictures, ["lose most", "lose least"]),
                    part.head(PICTURES),
                )
            )
    return Section("Who loses", blocks)
