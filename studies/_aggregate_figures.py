"""Figures of the study on the aggregate posterior; each takes the frame that it is drawn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from _aggregate_tables import COLUMN, IN_BATCH, OURS, RIGHT

from vaeaudit.figures.style import FAINT, FULL, INK, SOFT, legend_below, looks, new_figure, style


def ceiling_frame(forms: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Mutual information against the number of data that an estimate sees."""
    information = forms[
        (forms["quantity"] == "mutual_information") & forms["form"].isin([IN_BATCH, RIGHT, COLUMN])
    ]
    batches = information.rename(columns={"batch_size": "data_seen"})
    ours = known[known["quantity"] == "mutual_information"].rename(columns={"num_given": "data_seen"})
    columns = ["form", "data_seen", "value", "lower", "upper", "truth"]
    return pd.concat([batches[columns], ours.assign(form=OURS)[columns]], ignore_index=True)


def ceiling(frame: pd.DataFrame) -> Any:
    """Estimates from one batch under their ceiling, and brackets from all data past it."""
    seen = np.geomspace(frame["data_seen"].min(), frame["data_seen"].max(), 50)
    truth = float(frame["truth"].iloc[0])
    with style():
        figure = new_figure(FULL, 3.6)
        axes = figure.subplots()
        handles = {}
        for name, look in looks(frame["form"]).items():
            part = frame[frame["form"] == name].sort_values("data_seen")
            if name == OURS:
                for row in part.itertuples():
                    (handles[name],) = axes.plot(
                        [row.data_seen] * 2, [row.lower, row.upper], color=look.colour, marker="_",
                        markersize=9, linewidth=3, alpha=0.85, solid_capstyle="butt",
                    )  # fmt: skip
            else:
                (handles[name],) = axes.plot(
                    part["data_seen"], part["value"], color=look.colour, linestyle=look.dash, marker=look.marker,
                    markersize=4.5,
                )  # fmt: skip
                axes.fill_between(
                    part["data_seen"],
                    part["lower"],
                    part["upper"],
                    color=look.colour,
                    alpha=0.18,
                    linewidth=0,
                )
        (handles["log(data seen)"],) = axes.plot(seen, np.log(seen), color=FAINT, linewidth=3, zorder=0)
        axes.axhline(truth, color=SOFT, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.annotate(
            "exact", (0.0, truth), xycoords=("axes fraction", "data"), xytext=(3, 3),
            textcoords="offset points", color=SOFT, fontsize=7.5,
        )  # fmt: skip
        axes.set_xscale("log")
        axes.set(xlabel="data that the estimate sees", ylabel="mutual information (nats)")
        legend_below(figure, list(handles.values()), list(handles))
    return figure


def matching_frame(quantities: pd.DataFrame, group: str) -> pd.DataFrame:
    """Rate and sliced W₂² of every model of a group, with the ends of their intervals."""
    part = quantities[quantities["group"] == group]
    rate, distance = (
        part[part["quantity"] == name].set_index(["objective", "seed"])[["value", "lower", "upper"]]
        for name in ("rate", "sliced_wasserstein")
    )
    distance = distance.assign(value=distance["value"].fillna((distance["lower"] + distance["upper"]) / 2))
    return rate.join(distance, lsuffix="_rate", rsuffix="_distance").reset_index()


def matching(frame: pd.DataFrame) -> Any:
    """Per datum across, on aggregate upwards: bottom left matches both, bottom right on aggregate only."""
    with style():
        figure = new_figure(FULL, 3.4)
        axes = figure.subplots()
        handles = []
        look = looks(frame["objective"])
        for name, appearance in look.items():
            part = frame[frame["objective"] == name]
            errors: dict[str, Any] = {}
            for axis, what in (("x", "rate"), ("y", "distance")):
                middle = part[f"value_{what}"]
                reach = np.stack([middle - part[f"lower_{what}"], part[f"upper_{what}"] - middle])
                errors[f"{axis}err"] = np.clip(reach, 0.0, None)
            handles.append(
                axes.errorbar(
                    part["value_rate"], part["value_distance"], **errors, fmt=appearance.marker,
                    color=appearance.colour, markersize=5.5, elinewidth=1.0, linestyle="none",
                )
            )  # fmt: skip
        axes.set_ylim(bottom=0.0)
        axes.set_xscale("log")  # rates span four orders of magnitude
        axes.set(
            xlabel="rate: distance to the prior per datum (nats)", ylabel="sliced W₂²(q(z), p): on aggregate"
        )
        legend_below(figure, handles, list(look))
    return figure


def unit_variances(latents: pd.DataFrame) -> Any:
    """One mark per latent and seed: where the variances of the posterior means lie."""
    objectives = list(dict.fromkeys(latents["objective"]))
    seeds = sorted(latents["seed"].unique())
    with style():
        figure = new_figure(FULL, 0.9 + 0.42 * len(objectives))
        axes = figure.subplots()
        for k, (name, look) in enumerate(looks(objectives).items()):
            for s, seed in enumerate(seeds):
                part = latents[(latents["objective"] == name) & (latents["seed"] == seed)]
                at = k + (s - (len(seeds) - 1) / 2) * 0.22
                variance = np.maximum(part["variance_of_loc"].to_numpy(float), 1e-6)
                axes.plot(
                    variance, np.full(len(part), at), linestyle="none", marker="|", color=look.colour,
                    markersize=8, markeredgewidth=1.6,
                )  # fmt: skip
        _threshold(axes)
        axes.annotate(
            "usual threshold", (0.01, 1.0), xycoords=("data", "axes fraction"), xytext=(3, 1),
            textcoords="offset points", color=SOFT, fontsize=7.5,
        )  # fmt: skip
        axes.set_yticks(range(len(objectives)), objectives)
        axes.set_ylim(len(objectives) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("variance over data of the posterior mean, one mark per latent, one row per seed")
    return figure


def _threshold(axes: Any) -> None:
    """The usual threshold, on a logarithmic axis of variances."""
    axes.axvline(0.01, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set_xscale("log")


def ablation(frame: pd.DataFrame) -> Any:
    """Loss of log p(x) when a unit is ablated, against the variance that the usual definition looks at."""
    with style():
        figure = new_figure(FULL, 3.4)
        axes = figure.subplots()
        handles = []
        look = looks(frame["objective"])
        for name, appearance in look.items():
            part = frame[frame["objective"] == name]
            loss = part["evidence_loss"].to_numpy(float)
            reach = np.stack([loss - part["evidence_lower"], part["evidence_upper"] - loss])
            handles.append(
                axes.errorbar(
                    np.maximum(part["variance_of_loc"], 1e-6), loss, yerr=np.clip(reach, 0.0, None),
                    fmt=appearance.marker, color=appearance.colour, markersize=4.5, elinewidth=0.9,
                    linestyle="none",
                )
            )  # fmt: skip
        _threshold(axes)
        axes.axhline(0.0, color=FAINT, linewidth=0.8, zorder=0)
        axes.set(xlabel="variance over data of the posterior mean", ylabel="loss of log p(x) (nats)")
        legend_below(figure, handles, list(look))
    return figure
