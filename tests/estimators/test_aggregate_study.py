"""What the study's page says, on frames whose answer is known."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

STUDIES = Path(__file__).resolve().parents[2] / "studies"


@pytest.fixture(scope="module")
def study():
    sys.path.insert(0, str(STUDIES))
    try:
        import _aggregate_findings
        import _aggregate_tables
        import aggregate_posterior

        yield aggregate_posterior, _aggregate_findings, _aggregate_tables
    finally:
        sys.path.remove(str(STUDIES))


def units(gaps):
    """One row per objective and seed; ``gaps``: objective → (exists per seed, lower, upper)."""
    rows = [
        {"group": "digits 16", "objective": name, "seed": seed, "plateau": exists, "gap_count": 5,
         "gap_lower": low, "gap_upper": high, "gap_decades": np.log10(high / low), "count_at_0.0001": 16,
         "count_at_0.01": 5, "count_at_0.1": 3}
        for name, (seeds, low, high) in gaps.items() for seed, exists in enumerate(seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("penalty", "words", "level"),
    [
        (([True, True], 0.001, 0.08), "survives under the parameter penalty, but lower down", "info"),
        (([True, True], 0.01, 0.6), "survives under the parameter penalty", "info"),
        (([False, False], 0.01, 0.6), "does not survive the parameter penalty", "warn"),
        (([True, False], 0.01, 0.6), "survives on some seeds only under the parameter penalty", "warn"),
    ],
)
def test_the_plateau_finding_says_what_the_table_says(study, penalty, words, level):
    _, findings, _ = study
    frame = units({"elbo": ([True, True], 0.02, 0.5), "wasserstein_penalty(1)": penalty})
    (found,) = findings.about_penalty_plateau(frame)
    assert found.what == f"digits 16: the plateau of the active-unit count {words}."
    assert found.level == level
    assert findings.about_penalty_plateau(frame[frame["objective"] == "elbo"]) == []


def hull(rows):
    return pd.DataFrame(
        [
            {"group": "g", "objective": o, "quantity": q, "lower": low, "upper": high, "middle": (low + high) / 2,
             "saturated": False, "num_seeds": 3}
            for o, q, low, high in rows
        ]
    )  # fmt: skip


def test_a_reversal_needs_both_intervals_apart(study):
    _, findings, tables = study
    certain = [
        ("mmd", "rate", 8, 9), ("mmd", "sliced_wasserstein", 0.0, 0.1), ("mmd", "marginal_kl", 0, 2),
        ("penalty", "rate", 6, 7), ("penalty", "sliced_wasserstein", 0.4, 0.5), ("penalty", "marginal_kl", 1, 2),
    ]  # fmt: skip
    for row in ("mmd", "penalty"):
        certain.append((row, "mutual_information", 1, 2))
    assert tables.reversals(hull(certain), "g") == [("mmd", "penalty")]
    assert tables.ranking(hull(certain), "g", "rate") == ("penalty", [])
    assert tables.ranking(hull(certain), "g", "marginal_kl") == ("mmd", ["penalty"])
    touching = [(o, q, low, 7.5 if (o, q) == ("penalty", "rate") else high) for o, q, low, high in certain]
    assert tables.reversals(hull(touching), "g") == [("mmd", "penalty")]  # 7.5 < 8
    touching = [(o, q, low, 8.5 if (o, q) == ("penalty", "rate") else high) for o, q, low, high in certain]
    assert tables.reversals(hull(touching), "g") == []
    said = findings.about_matching(hull(certain))[0].what
    assert said.startswith("g: mmd spends 8.5 nats per datum, penalty 6.5")


def test_the_demonstration_shows_ceiling_fault_and_bracket(study):
    module, findings, tables = study
    result = module._demonstrate({"demo_data": 1000, "demo_batches": 4})
    forms, known = result.frames["forms"], result.frames["known"]
    information = forms[forms["quantity"] == "mutual_information"].set_index(["form", "batch_size"])["value"]
    for size in module.BATCHES:
        assert information[tables.IN_BATCH, size] <= np.log(size) + 1e-9
    truth = float(forms["truth"].iloc[0])
    assert abs(information[tables.COLUMN, 128] - truth) > 3 * abs(information[tables.RIGHT, 128] - truth)
    assert information[tables.PER_LATENT, 128] > truth + 20
    assert np.all((known["lower"] <= known["truth"]) & (known["truth"] <= known["upper"]))
    ceiling, fault, ours, *_ = findings.about_known_answer(forms, known)
    assert (ceiling.level, fault.level, ours.level) == ("warn", "warn", "pass")
    errors = tables.errors_by_form(forms, known, 128)
    assert errors["form"].iloc[-1] == tables.OURS
    assert errors["lower"].iloc[-1] < 0 < errors["upper"].iloc[-1]
