"""Data sets that need no files: digits, linear-Gaussian draws, sprites."""

import importlib.machinery

import numpy as np
import oracles
import pytest
import sklearn.datasets
from statistical import assert_mean

from vaeaudit.core.errors import ArgumentError, ChecksumError, DataMissingError
from vaeaudit.data import digits
from vaeaudit.data.registry import load_data
from vaeaudit.data.sprites import FACTOR_SIZES

# registered content of every form; a change here is a change of every result that used it
REGISTERED = {
    ("digits", "binary"): "57761e06",
    ("digits", "grey"): "d0e7e2a5",
    ("sprites", "grey"): "87ac7ab1",
    ("sprites", "binary"): "282c4a61",
}


@pytest.mark.parametrize(("name", "form"), REGISTERED)
def test_content_is_the_registered_one(name, form):
    assert load_data(name, form=form).sha256.startswith(REGISTERED[name, form])


@pytest.mark.parametrize("form", ["binary", "grey"])
def test_digits_are_scikit_learn_s(form):
    data = load_data("digits", form=form)
    raw = sklearn.datasets.load_digits()
    expected = raw.images / 16 if form == "grey" else (raw.images >= 8)
    assert [len(data.train), len(data.validation), len(data.test)] == [1297, 200, 300]
    assert data.sha256 == digits.SHA256[form]
    # every picture with its label occurs exactly as often as in the source
    labels = np.concatenate([data.train_labels, data.validation_labels, data.test_labels])
    ours = sorted((int(y), x.tobytes()) for x, y in zip(data.pooled, labels, strict=True))
    theirs = sorted(
        (int(y), x.astype(np.float32).tobytes()) for x, y in zip(expected, raw.target, strict=True)
    )
    assert ours == theirs


def test_the_forms_of_the_digits_are_one_split():
    grey, binary = load_data("digits", form="grey"), load_data("digits")
    assert binary.form == "binary"
    np.testing.assert_array_equal(binary.test, grey.test >= 0.5)
    np.testing.assert_array_equal(binary.test_labels, grey.test_labels)
    assert set(grey.test_labels) == set(range(10))


def _install(monkeypatch, folder, changed=None):
    """A stand-in for the installed scikit-learn, with digits or without."""
    if changed is not None:
        (folder / "datasets" / "data").mkdir(parents=True)
        np.savetxt(folder / "datasets" / "data" / "digits.csv.gz", changed, delimiter=",")
    spec = importlib.machinery.ModuleSpec("sklearn", None, origin=str(folder / "__init__.py"))
    monkeypatch.setattr(digits, "find_spec", lambda name: spec)


def test_the_digits_are_those_of_scikit_learns_own_reader():
    raw = sklearn.datasets.load_digits()
    pixels, labels = digits._bundled()
    np.testing.assert_array_equal(pixels, raw.images)
    np.testing.assert_array_equal(labels, raw.target)


def test_other_digits_in_scikit_learn_are_noticed(monkeypatch, tmp_path):
    raw = sklearn.datasets.load_digits()
    raw.data[0, 0] += 1
    _install(monkeypatch, tmp_path, np.column_stack([raw.data, raw.target]))
    with pytest.raises(ChecksumError, match="installed scikit-learn"):
        load_data("digits")


def test_a_scikit_learn_without_digits_is_named(monkeypatch, tmp_path):
    _install(monkeypatch, tmp_path)
    with pytest.raises(DataMissingError, match=r"digits\.csv\.gz, which is not there"):
        load_data("digits")


def test_another_preparation_of_the_digits_is_noticed(monkeypatch):
    monkeypatch.setattr(digits, "SIZES", (1296, 201, 300))
    with pytest.raises(ChecksumError, match="The preparation gave other numbers"):
        load_data("digits")


@pytest.mark.parametrize("correlated", [False, True])
def test_linear_gaussian_draws_follow_their_truth(correlated):
    """Detects errors of 0.35 in any covariance entry and 0.15 nats in E log p(x)."""
    options = {"spectrum": (4.0, 1.0), "data_dim": 5, "noise_scale": 0.6, "correlated": correlated}
    data = load_data("linear_gaussian", num_data=(20_000, 10, 10), **options)
    truth = data.truth
    x = data.train.astype(np.float64)
    assert_mean(x, truth.bias, detects=0.2)
    u = x - truth.bias
    assert_mean(u[:, :, None] * u[:, None, :], truth.cov, detects=0.35)
    assert_mean(truth.log_evidence(x), -truth.entropy, detects=0.15)
    exact = oracles.linear_gaussian_log_evidence(truth.weight, truth.bias, truth.noise_scale, x[:5])
    np.testing.assert_allclose(truth.log_evidence(x[:5]), exact, rtol=1e-9)
    np.testing.assert_allclose(np.linalg.eigvalsh(truth.weight.T @ truth.weight), [1, 4], rtol=1e-5)
    assert truth.mutual_information == pytest.approx(
        0.5 * np.log([1 + 4 / 0.36, 1 + 1 / 0.36]).sum(), rel=1e-5
    )
    cov = truth.posterior(x[:1])[1]
    assert (abs(cov[0, 1]) > 0.01) == correlated


def test_rotating_the_latents_leaves_the_data_s_distribution():
    plain = load_data("linear_gaussian", num_data=(2, 2, 2))
    turned = load_data("linear_gaussian", num_data=(2, 2, 2), correlated=True)
    np.testing.assert_allclose(plain.truth.cov, turned.truth.cov, atol=1e-6)
    np.testing.assert_array_equal(plain.truth.bias, turned.truth.bias)


def test_linear_gaussian_seeds_and_splits_differ_and_repeat():
    sizes = (20, 20, 20)
    a, b = (load_data("linear_gaussian", num_data=sizes, seed=s) for s in (0, 1))
    assert a.sha256 == load_data("linear_gaussian", num_data=sizes).sha256
    assert a.sha256 != b.sha256
    assert not np.array_equal(a.train, a.test)
    assert not np.array_equal(a.truth.weight, b.truth.weight)
    assert a.truth.weight.tolist() == a.truth.weight.astype(np.float32).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spectrum": ()}, "spectrum"),
        ({"spectrum": (1.0, 0.0)}, "positive signal variances"),
        ({"data_dim": 2}, "at least the number of latents"),
        ({"noise_scale": 0.0}, "noise_scale"),
        ({"num_data": (10, 10)}, "three sizes"),
        ({"num_data": (10, 10, 0)}, "num_data"),
    ],
)
def test_linear_gaussian_refuses(options, message):
    with pytest.raises(ArgumentError, match=message):
        load_data("linear_gaussian", **options)


@pytest.mark.parametrize("size", [16, 32])
def test_sprites_show_every_combination_of_factors_once(size):
    data = load_data("sprites", size=size)
    factors = data.pooled_factors
    assert data.event_shape == (size, size)
    assert len(np.unique(factors, axis=0)) == len(factors) == np.prod(FACTOR_SIZES)
    assert factors.max(axis=0).tolist() == [n - 1 for n in FACTOR_SIZES]
    assert len(np.unique(data.pooled.reshape(len(factors), -1), axis=0)) == len(factors)
    assert len(data.factor_names) == factors.shape[1]
    np.testing.assert_array_equal(data.train_labels, data.train_factors[:, 0])


def test_sprite_factors_do_what_their_names_say():
    data = load_data("sprites")
    order = np.lexsort(data.pooled_factors.T[::-1])
    x = data.pooled[order].reshape(*FACTOR_SIZES, 16, 16)
    mass = x.sum(axis=(-1, -2))
    # position changes nothing but the place, so nothing is cut off at the border
    np.testing.assert_allclose(mass, np.broadcast_to(mass[..., :1, :1], mass.shape), rtol=1e-6)
    np.testing.assert_array_equal(x[..., 3, 2, :, 1:], x[..., 2, 2, :, :-1])  # x + 1: one column right
    np.testing.assert_array_equal(x[..., 3, 2, 1:, :], x[..., 3, 1, :-1, :])  # y + 1: one row down
    # area grows with the square of the half-length 0.16 + 0.036 · scale
    area = mass.mean(axis=(2, 3, 4))
    np.testing.assert_allclose(area[:, 3] / area[:, 0], (0.268 / 0.16) ** 2, rtol=0.05)
    assert (np.abs(np.diff(x, axis=2)).sum(axis=(-1, -2)) > 1).all()  # each turn is seen


def test_small_binary_sprites_coincide_as_documented():
    flat = load_data("sprites", form="binary").pooled.reshape(6144, -1)
    assert len(np.unique(flat, axis=0)) == 5952
    with pytest.raises(ArgumentError, match="16 or 32"):
        load_data("sprites", size=20)
