"""The part of the derivations page on trained models: how near the sweep comes to each derived optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from vaeaudit.report import Finding, Section, Table, Text

SAMPLED = "sampled z"
COLUMNS_OF = {  # quantity → column of the summary; everything else is a parameter
    "value": "value_error",
    "elbo": "value_error",
    "log_evidence": "log_evidence_error",
    "log_evidence_implied": "log_evidence_error",
}
ERRORS = ("value_error", "log_evidence_error", "parameter_error")
LIMIT = 1e-3
SHOWN = ("objective", "spectrum", "optimum", *ERRORS, "from_population", "agrees", "covered")


def power(number: float) -> str:
    """Two digits and a power of ten: 5.3·10⁻⁸."""
    digits, exponent = f"{number:.1e}".split("e")
    return f"{digits}·10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def _intervals(rows: pd.DataFrame) -> pd.DataFrame:
    """Per quantity of one noisy objective: trained − derived − scatter_bias beside half its interval.

    The interval is Student's over seeds, widened by the derived number's own error: at 95 % each, and
    jointly over the quantities (Bonferroni).
    """
    moved = rows[rows["quantity"] != "scale_rms"]  # the scales that the reference is given
    moved = moved.assign(difference=moved["trained"] - moved["derived"] - moved["scatter_bias"])
    held = moved.groupby(["quantity", "direction"], sort=False, as_index=False).agg(
        population=("population", "first"),
        derived=("derived", "first"),
        trained=("trained", "mean"),
        scatter_bias=("scatter_bias", "first"),
        difference=("difference", "mean"),
        se=("difference", "sem"),
        count=("difference", "size"),
        error=("derived_error", "first"),
    )
    single = stats.t.ppf(0.975, held["count"] - 1)
    for name, share in (("half", 1), ("half_jointly", len(held))):
        wide = stats.t.ppf(1 - 0.025 / share, held["count"] - 1)
        held[name] = np.hypot(wide * held["se"], wide / single * held["error"])  # the error is that of 95 %
    return held


def _against_interval(rows: pd.DataFrame) -> tuple[float, bool]:
    """Share of quantities inside their 95 % interval, and whether all are inside the joint one."""
    held = _intervals(rows)
    off = held["difference"].abs()
    return float((off <= held["half"]).mean()), bool((off <= held["half_jointly"]).all())


def noisy_quantities(trained: pd.DataFrame) -> pd.DataFrame:
    """The comparison of objectives that keep their noise, quantity by quantity."""
    noisy = trained[trained["trained_by"] == SAMPLED]
    if not len(noisy) or noisy["seed"].max() == noisy["seed"].min():
        return pd.DataFrame()
    parts = []
    for (objective, spectrum), part in noisy.groupby(["objective", "spectrum"], sort=False):
        held = _intervals(part)
        held.insert(0, "objective", objective)
        held.insert(1, "spectrum", spectrum)
        parts.append(held.assign(inside=held["difference"].abs() <= held["half"]))
    return pd.concat(parts, ignore_index=True).drop(columns=["se", "count", "error"])


def trained_summary(trained: pd.DataFrame) -> pd.DataFrame:
    """One row per objective and spectrum: the largest relative errors over seeds and quantities."""
    rows = []
    for (objective, spectrum, way), part in trained.groupby(
        ["objective", "spectrum", "trained_by"], sort=False
    ):
        kinds = part["quantity"].map(COLUMNS_OF).fillna("parameter_error")
        worst = part.groupby(kinds)["relative_error"].max()
        noisy = way == SAMPLED and part["seed"].max() > part["seed"].min()
        covered, joint = _against_interval(part) if noisy else (np.nan, False)
        rows.append(
            {
                "objective": objective,
                "spectrum": spectrum,
                "trained_by": way,
                "optimum": "; ".join(dict.fromkeys(part["optimum"])),
                "seeds": part["seed"].nunique(),
                "comparisons": len(part),
                **{name: worst.get(name, np.nan) for name in ERRORS},
                "from_population": part["population_distance"].max(),
                "criterion": "interval" if noisy else "10⁻³",
                "agrees": joint if noisy else bool((worst < LIMIT).all()),
                "covered": covered,
            }
        )
    return pd.DataFrame(rows)


def trained_findings(trained: pd.DataFrame) -> list[Finding]:
    """What the comparison says."""
    if not len(trained):
        return []
    table = trained_summary(trained)
    exact, sampled = table[table["criterion"] != "interval"], table[table["criterion"] == "interval"]
    off = exact[~exact["agrees"]]
    others = f" The others: {_settings(off)}." if len(off) else ""
    found = [
        Finding(
            "warn" if len(off) else "pass",
            f"Trained by the sweep, {len(exact) - len(off)} of {len(exact)} settings of objective and spectrum without "
            f"noise reach the derived optimum to 10⁻³ in value and in every parameter, "
            f"{int((exact['value_error'] < LIMIT).sum())} in value.{others}",
            f"Objectives: {exact['objective'].nunique()}, spectra: {exact['spectrum'].nunique()}, seeds: "
            f"{int(exact['seeds'].max())}, comparisons: {int(exact['comparisons'].sum())}; the largest error is "
            f"{power(exact[list(ERRORS)].max().max())}.",
        )
    ]
    local = trained[trained["optimum"].str.startswith("local")]
    if len(local):
        runs = local.drop_duplicates(["objective", "spectrum", "seed"])
        short = local[local["quantity"] == "value"]["relative_error"].max()
        found.append(
            Finding(
                "info",
                f"{len(runs)} runs of {_settings(local)} end in another local optimum, up to {power(short)} lower in "
                "value.",
                "Equal eigenvalues leave latents free to turn; the finite data then make many optima of nearly one "
                "value. Parameters are compared with the local optimum, values with the best.",
            )
        )
    if len(sampled):
        out = sampled[~sampled["agrees"]]
        found.append(
            Finding(
                "warn" if len(out) else "pass",
                f"Objectives that read single draws agree with their optimum within their error in "
                f"{len(sampled) - len(out)} of {len(sampled)} settings, jointly over all quantities at 95 %"
                + (f"; not: {_settings(out)}." if len(out) else "."),
                f"The optima compared with are biased from that for the Gaussian itself by up to {_biases(sampled)} of "
                f"a parameter. {sampled['seeds'].min()} seeds each. Single intervals hold the derived number for "
                f"{100 * np.average(sampled['covered'], weights=sampled['comparisons']):.0f} % of the quantities.",
            )
        )
    return found


def _biases(table: pd.DataFrame) -> str:
    most = table.groupby("objective", sort=False)["from_population"].max()
    return ", ".join(f"{100 * share:.2g} % (`{name}`)" for name, share in most.items())


def _settings(table: pd.DataFrame) -> str:
    pairs = table[["objective", "spectrum"]].drop_duplicates().itertuples(index=False)
    return ", ".join(f"`{objective}` on {spectrum}" for objective, spectrum in pairs)


def trained_section(trained: pd.DataFrame) -> list[Section]:
    """The table, and how each row was trained."""
    if not len(trained):
        return []
    blocks: list[Any] = [
        Text(
            "Networks trained by `va.sweep` (whole data, float32) from random starts on data with exactly these "
            "eigenvalues in a random basis. Where an objective averages over q, the likelihood's expectation is in "
            "closed form, so that its gradient has no noise; `iwae`, `total_correlation` and `mmd` read single draws and "
            "keep it."
        ),
        Text(
            "**Creases.** Free bits with a latent at its floor and `capacity` have their optimum on a crease, where "
            "Adam's steps, equally large in every direction, do not settle. There the sweep's Adam gets an ε of 10⁴, "
            "which leaves momentum steps of 0.1 times the gradient with a cosine to zero, and 100,000 to 400,000 steps. "
            "Free bits start from the best of 6 random starts after 3,000 steps, chosen by the value alone, for they "
            "have local optima. `capacity` is trained with its target held at C, as its ramp leaves it."
        ),
        Text(
            "**Which optimum.** Most objectives see no more of the data than the covariance. The others are compared "
            "with what they optimise on the very data. For `capacity` that is the mean of $|\\mathrm{rate} - C|$ over "
            "512 points, maximised by BFGS in float64. `total_correlation` takes q(z) for the mixture of its batch's 256 "
            "posteriors, which moves the optimum by an amount of order 1/N. `mmd` has its supremum at "
            "$\\sigma \\to 0$, where its gradient dies out as $\\sigma^2$: it is compared with the optimum at the scales "
            "that it has reached. The column optimum names "
            "the one compared with, from_population its distance from the optimum for the Gaussian itself."
        ),
        Text(
            "**Noise.** A noisy run ends beside the optimum. Its parameters scatter to both sides, but a value at its "
            "maximum can only fall by that, and a norm only grow: scatter_bias is what the seeds' own scatter does to a "
            "quantity at the optimum. The interval is Student's over seeds for trained − derived − scatter_bias; an "
            "objective agrees if all its quantities are inside jointly at 95 %."
        ),
        Text(
            "The penalty $\\lambda(\\mu^2 + (\\sigma - 1)^2)$ has an optimum only where every "
            "$\\ell_j < 2 \\lambda s^2$, and that is collapse; "
            "$\\lambda(\\tfrac{1}{2}\\mu^2 + (\\sigma - 1)^2)$ only where every $\\ell_j < 4 \\lambda s^2$; "
            "`moment_penalty` and `head_l2` alone have none on any data. Where there is none, the decoder is held "
            "at $w^2 = 1, 4, 16$ along the principal axes and the encoder trained: then the derived encoder is "
            "unique."
        ),
        Table(
            "trained_optimum",
            "Largest relative error against the derived optimum, over seeds and quantities.",
            trained_summary(trained),
            SHOWN,
            formats=dict.fromkeys([*ERRORS, "from_population"], ".1e"),
            note="value_error: the objective (for iwae the ELBO below it). log_evidence_error: E log p(x). "
            "parameter_error: decoder and encoder along every direction, scales, noise. from_population: distance of "
            "the optimum compared with from the one for N(0, S), largest over quantities. agrees: every error below "
            "10⁻³, or every quantity inside the joint interval. covered: share of quantities inside their single 95 % "
            "intervals.",
            max_rows=80,
        ),
    ]
    noisy = noisy_quantities(trained)
    if len(noisy):
        shown = [c for c in noisy.columns if c not in ("population", "half_jointly")]
        blocks.append(
            Table(
                "trained_quantities",
                "Objectives that keep their noise, quantity by quantity.",
                noisy,
                shown,
                formats=dict.fromkeys(("scatter_bias", "difference", "half"), ".1e")
                | dict.fromkeys(("derived", "trained"), ".4f"),
                note="difference: trained − derived − scatter_bias, mean over seeds; half: half its 95 % interval. "
                "population, in the CSV: the optimum for N(0, S).",
                max_rows=40,
            )
        )
    return [Section("Derived against trained by the sweep", blocks)]
