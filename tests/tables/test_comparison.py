import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from vaeaudit.core.errors import ArgumentError
from vaeaudit.core.records import Bracket, Estimate
from vaeaudit.study.study import CellResult
from vaeaudit.tables import collect, compare, compare_paired, gather, mean_over_seeds, over_seeds, tidy


def test_independent_differences_add_variances():
    frame = compare(
        {
            "elbo": tidy({"rate": Estimate.normal(10.0, 0.3)}),
            "beta(4)": tidy({"rate": Estimate.normal(7.0, 0.4), "only_here": Estimate.exact(1.0)}),
        }
    )
    assert frame["quantity"].tolist() == ["rate"]
    row = frame.iloc[0]
    assert (row["model"], row["baseline"], row["difference"]) == ("beta(4)", "elbo", -3.0)
    assert row["se"] == pytest.approx(0.5)
    assert (row["lower"], row["upper"]) == pytest.approx((-3 - 1.959964 * 0.5, -3 + 1.959964 * 0.5))


def test_bounds_on_bias_add_linearly():
    biased = Estimate.normal(1.0, 0.3, bias_bound=0.2)
    row = compare(
        {"a": tidy({"x": biased}), "b": tidy({"x": Estimate.normal(2.0, 0.4, bias_bound=0.1)})}
    ).iloc[0]
    assert row["upper"] - row["difference"] == pytest.approx(1.959964 * 0.5 + 0.3)


def test_brackets_differ_by_their_outer_ends():
    one = Bracket(Estimate.exact(1.0), Estimate.exact(2.0))
    two = Bracket(Estimate.exact(4.0), Estimate.exact(6.0))
    row = compare({"a": tidy({"marginal_kl": one}), "b": tidy({"marginal_kl": two})}).iloc[0]
    assert (row["lower"], row["upper"]) == (2.0, 5.0)  # 4 − 2 and 6 − 1


def test_no_interval_on_one_side_gives_none():
    refused = tidy({"x": Estimate.refused("unreliable", "heavy tail", value=3.0)})
    row = compare({"a": tidy({"x": Estimate.exact(1.0)}), "b": refused}).iloc[0]
    assert row["verdict"] == "unreliable"
    assert math.isnan(row["difference"])
    assert math.isnan(row["lower"])


def test_units_must_agree_and_a_baseline_must_exist():
    nats, bits = tidy({"x": Estimate.exact(1.0)}), tidy({"x": Estimate.exact(1.0, unit="bits/dim")})
    with pytest.raises(ArgumentError, match="bits_per_dim"):
        compare({"a": nats, "b": bits})
    with pytest.raises(ArgumentError, match="unknown baseline"):
        compare({"a": nats, "b": nats}, baseline="c")
    with pytest.raises(ArgumentError, match="at least two"):
        compare({"a": nats})


def test_paired_differences_agree_with_scipy():
    # what varies between data (sd 10) must cancel: an unpaired interval would be 50 times wider
    rng = np.random.default_rng(0)
    easy = rng.normal(0, 10, 400)
    a, b = easy + rng.normal(0, 0.2, 400), easy + 1 + rng.normal(0, 0.2, 400)
    row = compare_paired({"a": pd.Series(a), "b": pd.Series(b)}, quantity="elbo").iloc[0]
    test = stats.ttest_rel(b, a)
    assert row["difference"] == pytest.approx(np.mean(b - a))
    assert row["difference"] / row["se"] == pytest.approx(test.statistic)
    assert row["upper"] - row["lower"] < 0.1


def test_paired_data_must_match_and_be_finite():
    with pytest.raises(ArgumentError, match="same data"):
        compare_paired({"a": pd.Series([1.0, 2.0]), "b": pd.Series([1.0])}, quantity="elbo")
    row = compare_paired({"a": pd.Series([1.0, 2.0]), "b": pd.Series([1.0, np.nan])}, quantity="elbo").iloc[0]
    assert row["verdict"] == "unreliable"


def test_over_seeds_is_a_student_interval():
    values = [3.0, 4.5, 3.5]
    frame = pd.DataFrame({"objective": "elbo", "seed": [0, 1, 2], "rate": values, "elbo": [1.0, np.nan, 2.0]})
    table = over_seeds(frame, by=["objective"], values=["rate", "elbo"]).set_index("quantity")
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (table.loc["rate", "lower"], table.loc["rate", "upper"]) == pytest.approx(expected)
    assert table.loc["elbo", "verdict"] == "unreliable"
    assert table.loc["elbo", "note"] == "1 of 3 runs gave no number"
    with pytest.raises(ArgumentError, match="more than once"):
        over_seeds(pd.concat([frame, frame]), by=["objective"], values=["rate"])


def test_one_seed_has_no_interval():
    table = over_seeds(pd.DataFrame({"o": ["x"], "seed": [0], "rate": [1.0]}), by=["o"], values=["rate"])
    assert table["verdict"][0] == "unreliable"
    assert math.isnan(table["lower"][0])


def test_collect_stacks_under_keys_in_order():
    part = pd.DataFrame({"rate": [1.0, 2.0]})
    frame = collect({("beta(4)", 1): part, ("elbo", 0): part}, ("objective", "seed"))
    assert frame["objective"].tolist() == ["beta(4)", "beta(4)", "elbo", "elbo"]
    assert list(frame.columns) == ["objective", "seed", "rate"]
    with pytest.raises(ArgumentError, match="other values"):
        collect({"elbo": pd.DataFrame({"objective": ["beta(4)"]})}, "objective")
    with pytest.raises(ArgumentError, match="empty"):
        collect({}, "objective")


def test_gather_stacks_frames_of_one_name_in_the_order_of_the_results():
    one, two = pd.DataFrame({"seed": [1], "rate": [2.0]}), pd.DataFrame({"seed": [0], "rate": [3.0]})
    frames = gather(
        {"b": CellResult({"rates": one, "only": one}), "a": CellResult({"rates": two}), "c": CellResult()}
    )
    assert set(frames) == {"rates", "only"}
    assert frames["rates"].to_dict("list") == {"seed": [1, 0], "rate": [2.0, 3.0]}
    assert list(frames["rates"].index) == [0, 1]
    frames["only"].loc[0, "rate"] = 9.0  # a copy: the cell's own frame stays
    assert one.loc[0, "rate"] == 2.0


def test_a_mean_over_seeds_is_missing_where_a_seed_is():
    frame = pd.DataFrame(
        {"objective": ["b", "b", "a", "a"], "seed": [0, 1, 0, 1], "rate": [1.0, 4.0, 2.0, 2.0],
         "elbo": [-1.0, math.nan, -2.0, -3.0]}
    )  # fmt: skip
    table = mean_over_seeds(frame, by=["objective"], values=["rate", "elbo"])
    assert table["objective"].tolist() == ["b", "a"]  # in order of appearance
    assert table["rate"].tolist() == [2.5, 2.0]
    assert math.isnan(table["elbo"][0])
    assert table["elbo"][1] == -2.5
