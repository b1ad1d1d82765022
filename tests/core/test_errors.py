"""Every error has a code of its own and can be caught by its family or its builtin."""

import inspect
import pickle

import pytest

from vaeaudit.core import errors

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.VaeauditError)]


def test_codes_are_unique_and_stable():
    codes = {c.__name__: c.__dict__.get("code") for c in CLASSES}
    assert None not in codes.values(), codes
    assert len(set(codes.values())) == len(codes)
    assert codes["ShapeError"] == "shape"
    assert codes["ChecksumError"] == "data-checksum"


@pytest.mark.parametrize("cls", CLASSES)
def test_message_survives(cls):
    assert str(cls("expected a, got b")) == "expected a, got b"
    assert str(pickle.loads(pickle.dumps(cls("expected a, got b")))) == "expected a, got b"


@pytest.mark.parametrize(
    ("cls", "bases"),
    [
        (errors.DataMissingError, (FileNotFoundError, errors.DataError, ValueError)),
        (errors.DataShapeError, (errors.DataError, errors.ShapeError)),
        (errors.UnknownNameError, (KeyError, errors.ArgumentError)),
        (errors.DtypeError, (TypeError,)),
        (errors.MissingDependencyError, (ImportError,)),
        (errors.StoreBusyError, (OSError, errors.StoreError)),
    ],
)
def test_builtin_families(cls, bases):
    assert all(issubclass(cls, base) for base in bases)


def test_unknown_name_suggests_and_lists():
    error = errors.unknown_name("objective", "elb0", ["elbo", "beta", "iwae"])
    assert str(error) == "unknown objective 'elb0'. Did you mean 'elbo'? Known: beta, elbo, iwae."
    assert "Did you mean" not in str(errors.unknown_name("objective", "zzz", ["elbo"]))
