"""Thresholds are met by whole intervals only; models and data are found by name."""

import numpy as np
import pandas as pd
import pytest

from vaeaudit.auditing.source import load_audit_data, load_factory
from vaeaudit.auditing.thresholds import Threshold, parse, unmet
from vaeaudit.core.errors import ArgumentError, DataMissingError, UnknownNameError

TABLE = pd.DataFrame(
    {
        "quantity": ["elbo", "log_evidence"],
        "value": [-100.0, -95.0],
        "lower": [-101.0, np.nan],
        "upper": [-99.0, np.nan],
        "verdict": ["ok", "lower bound only"],
    }
)


@pytest.mark.parametrize(
    ("text", "floor", "met"),
    [
        ("elbo=-102", True, True),
        ("elbo=-101", True, True),
        ("elbo=-100.5", True, False),
        ("elbo=-99", False, True),
        ("elbo=-99.5", False, False),
        ("log_evidence=-1000", True, False),
    ],
)
def test_the_whole_interval_counts(text, floor, met):
    assert (unmet(TABLE, [parse(text, floor=floor)]) == []) == met


def test_bad_thresholds_are_named():
    assert parse("elbo=-1e2", floor=True) == Threshold("elbo", -100.0, True)
    for text in ("elbo", "elbo=", "=3", "elbo=high", "elbo=nan"):
        with pytest.raises(ArgumentError, match="QUANTITY=NUMBER"):
            parse(text, floor=True)
    with pytest.raises(UnknownNameError, match="Did you mean 'elbo'"):
        unmet(TABLE, [parse("elbow=1", floor=True)])


def test_a_factory_is_called_and_its_mistakes_named(tmp_path):
    path = tmp_path / "models.py"
    path.write_text(
        "import neighbour, vaeaudit as va\n"
        "def build():\n"
        "    return va.vae(encode=lambda x: (x, x), log_likelihood=lambda x, z: z[..., 0], latent_dim=1)\n"
        "def pair():\n    return build(), neighbour.x\n"
        "def number():\n    return 3\n"
        "def needs(a):\n    return a\n"
        "constant = 3\n"
    )
    (tmp_path / "neighbour.py").write_text("x = [[1.0], [2.0]]\n")
    assert load_factory(f"{path}:build")[1] is None
    assert load_factory(f"{path}:pair")[1] == [[1.0], [2.0]]
    for name, words in (
        ("number", "must return a VAE"), ("needs", "without arguments"), ("constant", "must be a function"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=words):
            load_factory(f"{path}:{name}")
    with pytest.raises(UnknownNameError, match="Did you mean 'build'"):
        load_factory(f"{path}:buidl")
    for text in (f"{path}", "models:build", f"{tmp_path / 'none.py'}:build", f"{path}:not valid"):
        with pytest.raises(ArgumentError, match=r"FILE.py:factory"):
            load_factory(text)


def test_data_come_by_name_or_from_an_archive(tmp_path):
    np.savez(tmp_path / "one.npz", images=np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
    np.savez(tmp_path / "two.npz", a=np.ones((3, 2)), b=np.zeros((3, 2)), n=np.arange(3))
    x, where = load_audit_data(str(tmp_path / "one.npz"), form="grey")
    np.testing.assert_allclose(x, np.arange(12).reshape(3, 2, 2) / 255, rtol=1e-6)
    assert where["data"] == "array 'images' of one.npz"
    assert load_audit_data(str(tmp_path / "two.npz") + ":b")[0].max() == 0
    with pytest.raises(ArgumentError, match="say which"):
        load_audit_data(str(tmp_path / "two.npz"))
    with pytest.raises(UnknownNameError):
        load_audit_data(str(tmp_path / "two.npz") + ":c")
    with pytest.raises(DataMissingError):
        load_audit_data(str(tmp_path / "three.npz"))
    with pytest.raises(DataMissingError, match=r"\.npz file"):
        load_audit_data("pictures.csv")
    with pytest.raises(UnknownNameError, match="Did you mean 'digits'"):
        load_audit_data("digit")
    digits, where = load_audit_data("digits", form="grey", split="validation")
    assert digits.shape[1:] == (8, 8)
    assert len(where["sha256"]) == 64
