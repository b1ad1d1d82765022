import math

import pandas as pd
import pytest

from vaeaudit.core.errors import ArgumentError
from vaeaudit.core.records import Bracket, Estimate
from vaeaudit.tables import ESTIMATE_COLUMNS, bits_per_dim, tidy


def row(frame, quantity):
    return frame.set_index("quantity").loc[quantity]


def test_estimates_and_brackets_become_rows_in_the_contract_order():
    frame = tidy(
        {
            "elbo": Estimate.normal(-30.0, 0.5, num_data=100, num_samples=64),
            "marginal_kl": Bracket(Estimate.normal(1.0, 0.1), Estimate.normal(2.0, 0.2)),
        },
        objective="elbo",
        seed=1,
    )
    assert list(frame.columns) == ["objective", "seed", *ESTIMATE_COLUMNS]
    elbo, bracket = row(frame, "elbo"), row(frame, "marginal_kl")
    assert (elbo["lower"], elbo["upper"]) == pytest.approx((-30 - 1.959964 * 0.5, -30 + 1.959964 * 0.5))
    assert elbo["num_data"] == 100
    # outer ends of the two intervals, no point value
    assert (bracket["lower"], bracket["upper"]) == pytest.approx((1 - 1.959964 * 0.1, 2 + 1.959964 * 0.2))
    assert math.isnan(bracket["value"])
    assert bracket["verdict"] == "ok"


def test_a_bracket_with_one_refused_end_claims_nothing_there():
    upper = Estimate.refused("saturated", "sits at log N")
    frame = tidy({"mutual_information": Bracket(Estimate.normal(1.0, 0.1), upper)})
    entry = row(frame, "mutual_information")
    assert entry["lower"] == pytest.approx(1 - 0.1959964)
    assert math.isnan(entry["upper"])
    assert entry["verdict"] == "lower bound only"
    assert "sits at log N" in entry["note"]


def test_a_bracket_with_both_ends_refused_is_no_bound():
    end = Estimate.refused("unreliable", "tail too heavy")
    entry = row(tidy({"marginal_kl": Bracket(end, end)}), "marginal_kl")
    assert entry["verdict"] == "unreliable"
    assert math.isnan(entry["lower"])
    assert math.isnan(entry["upper"])


def test_a_bare_number_is_refused():
    with pytest.raises(ArgumentError, match=r"Estimate\.exact"):
        tidy({"elbo": -3.0})


def test_bits_per_dim_divides_nats_by_dims_and_log_two_and_keeps_the_sign():
    frame = tidy(
        {
            "elbo": Estimate.normal(-784 * math.log(2) * 1.5, 0.1),
            "active_units": Estimate.exact(3, unit="units"),
        }
    )
    converted = bits_per_dim(frame, 784)
    assert list(converted["quantity"]) == ["elbo_bits_per_dim"]
    assert converted["unit"].tolist() == ["bits/dim"]
    assert converted["value"][0] == pytest.approx(-1.5)
    assert converted["se"][0] == pytest.approx(0.1 / 784 / 0.6931471805599453)
    with pytest.raises(ArgumentError, match="num_dims"):
        bits_per_dim(frame, 0)


def test_tidy_keeps_missing_counts_as_missing_integers():
    frame = tidy({"a": Estimate.exact(1.0), "b": Estimate.exact(2.0, num_data=7)})
    assert pd.isna(frame["num_data"][0])
    assert frame["num_data"][1] == 7
