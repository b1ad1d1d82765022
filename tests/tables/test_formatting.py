import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaeaudit.core.errors import ArgumentError
from vaeaudit.tables import column, describe, render, with_interval
from vaeaudit.tables.formatting import format_column, format_frame, format_number, is_numeric
from vaeaudit.tables.schema import require


def test_a_column_has_one_number_of_decimals():
    assert format_column(pd.Series([-12.5, 3.14159, np.nan, 0.5], name="x")) == [
        "−12.50",
        "3.14",
        "–",
        "0.50",
    ]
    assert format_column(pd.Series([1e-3, 1e4], name="x")) == ["0.001", "1·10⁴"]  # spans too much
    assert format_column(pd.Series([1, 2], name="seed")) == ["1", "2"]


def test_numbers_that_round_to_zero_have_no_minus():
    assert format_number(-0.0004, ".2f") == "0.00"
    assert format_number(-math.inf) == "−∞"


def test_words_for_truth_and_missing_values():
    assert format_column(pd.Series([True, False], name="reliable")) == ["yes", "no"]
    assert format_column(pd.Series(["a", None, 3], name="mixed")) == ["a", "–", "3"]
    assert not is_numeric(pd.Series([True, False]))
    assert is_numeric(pd.Series([1, None], dtype=object))


def test_a_spec_that_does_not_fit_is_named():
    with pytest.raises(ArgumentError, match=r"'\.3q'"):
        format_number(1.0, ".3q")


def test_units_follow_the_suffix():
    assert column("elbo_se").unit == "nats"
    assert column("log_evidence_bits_per_dim").unit == "bits/dim"
    assert column("unheard_of_lower").unit == ""
    assert describe(["rate", "seed"])["unit"].tolist() == ["nats", ""]


def test_a_missing_column_is_reported_with_those_there():
    with pytest.raises(ArgumentError, match=r"'rate'.*the frame has 'elbo'"):
        require(pd.DataFrame({"elbo": [1.0]}), ["rate"], what="a figure")


WIDE = pd.DataFrame(
    {
        "objective": ["wasserstein_penalty(1.0) with a very long name that goes on and on", "elbo"],
        **{f"quantity_{i}": [1.5 * i, -20.25] for i in range(12)},
        "note": ["short", "a note that is long enough to be cut in any narrow terminal window"],
    }
)


@given(width=st.integers(20, 200))
def test_terminal_text_is_never_wider_than_asked(width):
    lines = render(WIDE, width=width).splitlines()
    assert max(map(len, lines)) <= width


def test_terminal_text_says_what_it_left_out():
    text = render(WIDE, width=60, max_rows=1)
    assert "quantity_11, note)" in text
    assert "1 more row;" in text
    assert "…" in text


def test_terminal_numbers_line_up_on_the_right():
    lines = render(pd.DataFrame({"objective": ["elbo", "beta(4)"], "rate": [12.5, 3.25]})).splitlines()
    assert lines[2].endswith("12.50")
    assert lines[3].endswith(" 3.25")
    assert len(lines[2]) == len(lines[3])


def test_terminal_text_drops_control_characters():
    assert "\x1b" not in render(pd.DataFrame({"name": ["\x1b[31mred\n"], "x": [1]}))


@pytest.mark.parametrize(
    ("numbers", "spec", "text"),
    [
        ((1.25, 1.0, 1.5), ".2f", "1.25 [1.00, 1.50]"),
        ((-0.5, -1.0, 0.25), "+.1f", "-0.5 [-1.0, +0.2]"),
        ((12.0, 11.4, 12.6), ".0f", "12 [11, 13]"),
        ((2.0, math.nan, math.nan), ".2f", "2.00"),
        ((2.0, 1.0, math.inf), ".2f", "2.00"),
        ((math.nan, 1.0, 2.0), ".2f", "–"),
        ((-0.001, -0.03, 0.02), ".2f", "0.00 [-0.03, 0.02]"),
        ((-0.2, -1.0, -0.004), "+.2f", "-0.20 [-1.00, +0.00]"),
    ],
)
def test_a_number_is_shown_with_its_interval_where_it_has_one(numbers, spec, text):
    assert with_interval(*numbers, spec) == text


@pytest.mark.parametrize(
    ("number", "spec", "text"),
    [(-3.21e-5, ".1e", "−3.2·10⁻⁵"), (1e12, ".0e", "1·10¹²"), (0.0, ".1e", "0"), (2.5e-7, "", "2.5·10⁻⁷")],
)
def test_powers_of_ten_are_written_out(number, spec, text):
    assert format_number(number, spec) == text


def test_a_terminal_gets_numbers_that_programs_read():
    assert float(format_number(-3.21e-5, ".1e", minus="-")) == -3.2e-5


def test_an_estimate_and_its_interval_have_one_number_of_decimals():
    frame = pd.DataFrame(
        {"noise": ["own", "shared"], "value": [-1.01, 0.004], "se": [0.0061, 0.0019], "lower": [-1.03, -0.0114],
         "upper": [-0.981, 0.0212], "num_seeds": [3, 3]}
    )  # fmt: skip
    cells = dict(zip(frame.columns, format_frame(frame), strict=True))
    assert cells["value"] == ["−1.01", "0.00"]
    assert cells["lower"] == ["−1.03", "−0.01"]
    assert cells["upper"] == ["−0.98", "0.02"]
    assert cells["se"] == ["0.006", "0.002"]
    assert cells["num_seeds"] == ["3", "3"]


def test_interval_ends_follow_the_number_on_their_left_or_of_their_name():
    frame = pd.DataFrame(
        {"difference": [0.034], "lower": [-0.4482], "upper": [0.5], "loss": [120.0], "loss_lower": [0.123],
         "loss_upper": [240.06], "climb": [0.0123]}
    )  # fmt: skip
    cells = {name: column[0] for name, column in zip(frame.columns, format_frame(frame), strict=True)}
    assert (cells["difference"], cells["lower"], cells["upper"]) == ("+0.034", "−0.448", "0.500")
    assert (cells["loss"], cells["loss_lower"], cells["loss_upper"]) == ("120.00", "0.12", "240.06")
    assert cells["climb"] == "0.0123"


def test_a_bracket_without_a_value_is_formatted_together_and_formats_win():
    frame = pd.DataFrame({"quantity": ["rate"], "lower": [6.5], "upper": [6.7315], "se": [1e-6]})
    assert format_frame(frame)[1:3] == [["6.50"], ["6.73"]]
    assert format_frame(frame)[3] == [format_number(1e-6)]  # two decimals more would hide it
    assert format_frame(frame, {"upper": ".4f"})[2] == ["6.7315"]
