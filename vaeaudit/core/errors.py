"""Named errors. Each carries a stable ``code``; its message says expected, got, cause and remedy."""

from __future__ import annotations


class VaeauditError(Exception):
    """Base of every error that this package raises on purpose."""

    code = "error"


class ArgumentError(VaeauditError, ValueError):
    """An argument has a value outside what is allowed."""

    code = "argument"


class ShapeError(VaeauditError, ValueError):
    """An array has the wrong rank or the wrong size along an axis."""

    code = "shape"


class DtypeError(VaeauditError, TypeError):
    """An array has a dtype that the computation cannot vouch for (for example float16)."""

    code = "dtype"


class NonFiniteError(VaeauditError, ValueError):
    """An array that must be finite holds NaN or infinity."""

    code = "non-finite"


class ScaleError(VaeauditError, ValueError):
    """A standard deviation is zero or negative."""

    code = "scale"


class SupportError(VaeauditError, ValueError):
    """Data lie outside the support of the likelihood that is to score them."""

    code = "support"


class DataError(VaeauditError, ValueError):
    """Base of the errors about data sets."""

    code = "data"


class DataMissingError(DataError, FileNotFoundError):
    """A data file or folder is not where it was looked for."""

    code = "data-missing"


class DataCorruptError(DataError):
    """A data file cannot be read as what it claims to be."""

    code = "data-corrupt"


class ChecksumError(DataError):
    """A data file's sha256 differs from the published one."""

    code = "data-checksum"


class DataShapeError(DataError, ShapeError):
    """A data set's arrays have the wrong shape."""

    code = "data-shape"


class DataRangeError(DataError):
    """A data set's values lie outside the expected range."""

    code = "data-range"


class DataEmptyError(DataError):
    """A data set holds no data."""

    code = "data-empty"


class UnknownNameError(ArgumentError, KeyError):
    """A name (data set, objective, study, claim, preset) is not registered."""

    code = "unknown-name"

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class StoreError(VaeauditError, OSError):
    """A result cannot be written or read back whole."""

    code = "store"


class StoreBusyError(StoreError):
    """Another process is writing to the same output folder."""

    code = "store-busy"


class TrainingError(VaeauditError, RuntimeError):
    """Training cannot go on (for example no finite loss in any model)."""

    code = "training"


class ProcessError(VaeauditError, RuntimeError):
    """Processes that compute together cannot begin or go on: one is missing, failed, or differs."""

    code = "process"


class ReportError(VaeauditError, RuntimeError):
    """A report cannot be rendered."""

    code = "report"


class MissingDependencyError(VaeauditError, ImportError):
    """An optional package is needed and not installed; the message names the install command."""

    code = "missing-dependency"


def unknown_name(kind: str, name: str, known: list[str]) -> UnknownNameError:
    """Build the error for a mistyped name, with the closest known names."""
    import difflib

    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    return UnknownNameError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(sorted(known))}.")
