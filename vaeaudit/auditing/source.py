"""What an audit on the command line reads: a factory in a Python file, and data by name or archive."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vaeaudit.core.errors import ArgumentError, DataMissingError, unknown_name
from vaeaudit.data.npz import as_pixels, read_npz
from vaeaudit.data.registry import DATASETS, load_data
from vaeaudit.models.vae import AbstractVAE

SPLITS = ("train", "validation", "test")


def load_factory(text: str) -> tuple[AbstractVAE, Any]:
    """Call ``FILE.py:factory`` and return the model and the data it brought, or None.

    Raises
    ------
    ArgumentError
        If there is no such file or function, or it returns neither a VAE nor a pair (VAE, x).
    """
    file, colon, name = text.rpartition(":")
    path = Path(file)
    if not colon or not name.isidentifier() or path.suffix != ".py":
        raise ArgumentError(f"the model is given as FILE.py:factory, e.g. mymodel.py:build; got {text!r}.")
    if not path.is_file():
        raise ArgumentError(f"no file {path}. The model is given as FILE.py:factory.")
    module = _import(path)
    if not hasattr(module, name):
        functions = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise unknown_name(f"function in {path}:", name, functions)
    factory = getattr(module, name)
    made = factory if isinstance(factory, AbstractVAE) else _call(factory, text)
    model, x = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, AbstractVAE):
        raise ArgumentError(
            f"{text} must return a VAE, or a pair (VAE, x); got {type(made).__name__}. Make one with "
            "vaeaudit.vae(...) or vaeaudit.from_decoder(...)."
        )
    return model, x


def _call(factory: Any, text: str) -> Any:
    if not callable(factory):
        raise ArgumentError(f"{text} must be a function without arguments; got {type(factory).__name__}.")
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise ArgumentError(f"{text} must be callable without arguments: {error}.") from error
    return factory()


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"vaeaudit_model_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ArgumentError(f"{path} cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))  # so that the file finds its neighbours
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def load_audit_data(
    text: str, *, form: str | None = None, split: str = "test", data_dir: str | Path | None = None
) -> tuple[np.ndarray, dict[str, str]]:
    """Data (N, *event) by name or from ``file.npz`` or ``file.npz:array``, and where they come from.

    Raises
    ------
    UnknownNameError, DataError, ArgumentError
    """
    file, _, key = text.partition(".npz")
    if text.endswith(".npz") or ".npz:" in text:
        path = Path(file + ".npz")
        arrays = read_npz(path)
        wanted = key.removeprefix(":")
        if not wanted:
            several = [name for name, array in arrays.items() if array.ndim >= 2]
            if len(several) != 1:
                raise ArgumentError(f"{path} holds {', '.join(arrays) or 'nothing'}; say which: {path}:NAME.")
            [wanted] = several
        if wanted not in arrays:
            raise unknown_name(f"array in {path}:", wanted, list(arrays))
        x = as_pixels(arrays[wanted], form or "real", f"{path.name}[{wanted!r}]")
        return x, {"data": f"array {wanted!r} of {path.name}", "form": form or "real"}
    if text not in DATASETS:
        if Path(text).suffix or Path(text).parent != Path():
            raise DataMissingError(f"--data takes a data set's name or a .npz file; got {text!r}.")
        raise unknown_name("data set", text, list(DATASETS))
    options = {"data_dir": data_dir} if DATASETS[text].needs_folder else {}
    dataset = load_data(text, form=form, **options)
    found = {"data": f"{dataset.name}, {split} split", "form": dataset.form, "sha256": dataset.sha256}
    return getattr(dataset, split), {**found, "source": dataset.source}
