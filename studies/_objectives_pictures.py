"""What the page of the study on training objectives shows of the models: posteriors, pictures, training curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

import vaeaudit as va
from vaeaudit.report import Figure, Table


def posterior_blocks(frames: Mapping[str, pd.DataFrame], chosen: Mapping[str, Any]) -> list[Any]:
    """Histograms of μ and σ, and how many units are active."""
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


def picture_blocks(
    results: Mapping[str, va.CellResult], chosen: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[Any]:
    """Data, reconstructions and draws from the prior; the codes where there are two latents."""
    blocks: list[Any] = []
    for group in chosen:
        cells = {va.objectives.parse(o).name: results[f"measure {group} {o}"] for o in settings["objectives"]}
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


def training_blocks(frames: Mapping[str, pd.DataFrame], chosen: Mapping[str, Any]) -> list[Any]:
    """Training curves and the first rows of the history."""
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
