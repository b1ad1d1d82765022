"""Data sets by name."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from os import PathLike

from vaeaudit.core.errors import ArgumentError, unknown_name
from vaeaudit.data.dataset import Dataset


@dataclass(frozen=True)
class Entry:
    """Where a data set's loader lives, and what it offers; ``forms[0]`` is the default."""

    loader: str  # "module:function"
    forms: tuple[str, ...]
    needs_folder: bool
    summary: str


DATASETS: dict[str, Entry] = {
    "digits": Entry(
        "vaeaudit.data.digits:load_digits",
        ("binary", "grey"),
        False,
        "1,797 real handwritten digits 8×8, bundled with scikit-learn; the offline default",
    ),
    "linear_gaussian": Entry(
        "vaeaudit.data.linear_gaussian:load_linear_gaussian",
        ("real",),
        False,
        "draws from probabilistic PCA: log p(x), posterior and divergences known in closed form",
    ),
    "sprites": Entry(
        "vaeaudit.data.sprites:load_sprites",
        ("grey", "binary"),
        False,
        "6,144 drawn shapes 16×16 or 32×32 with known factors: shape, scale, rotation, x, y",
    ),
    "mnist": Entry(
        "vaeaudit.data.mnist:load_mnist",
        ("binary", "grey"),
        True,
        "70,000 handwritten digits 28×28, from a folder or a checked download",
    ),
    "frey_faces": Entry(
        "vaeaudit.data.frey_faces:load_frey_faces",
        ("grey", "binary"),
        True,
        "1,965 frames of one face 28×20, from a folder or a checked download",
    ),
    "image_folder": Entry(
        "vaeaudit.data.image_folder:load_image_folder",
        ("grey", "rgb", "binary"),
        True,
        "the pictures of a folder of yours, resized",
    ),
    "npz": Entry(
        "vaeaudit.data.npz:load_npz",
        ("grey", "binary", "real"),
        True,
        "an array (N, *event) of a .npz archive of yours",
    ),
}


def load_data(
    name: str, *, form: str | None = None, data_dir: str | PathLike[str] | None = None, **options: object
) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name
        One of `DATASETS`: ``digits``, ``linear_gaussian``, ``sprites``, ``mnist``, ``frey_faces``,
        ``image_folder``, ``npz``.
    form
        ``"binary"`` (0 or 1: value ≥ ½), ``"grey"`` (values in [0, 1]), ``"rgb"`` or ``"real"``, as the
        data set offers; its first form when omitted.
    data_dir
        Folder with the files of ``mnist`` and ``frey_faces``; otherwise the environment variable
        ``VAEAUDIT_DATA_DIR``, then the user's cache, then a checked download. The folder of pictures
        of ``image_folder``; the archive of ``npz``.
    **options
        Passed to the loader, for example ``size=(32, 32)`` for ``image_folder``.

    Returns
    -------
    Dataset
        Train, validation and test data in float32.

    Raises
    ------
    UnknownNameError
        For an unknown name.
    ArgumentError
        For a form or an option that the data set does not have.
    DataError
        For missing, corrupt, wrongly shaped, out-of-range or empty data (its subclasses).

    Notes
    -----
    Binarisation is fixed, so that every model sees the same data and the content has a hash. Drawing
    new binary images at each epoch (dynamic binarisation) is a matter of training.

    Examples
    --------
    >>> from vaeaudit.data.registry import load_data
    >>> load_data("digits", form="grey").event_shape
    (8, 8)
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, list(DATASETS))
    entry = DATASETS[name]
    form = entry.forms[0] if form is None else form
    if form not in entry.forms:
        raise ArgumentError(f"data set {name!r} has the forms {', '.join(entry.forms)}; got {form!r}.")
    module, function = entry.loader.split(":")
    loader = getattr(importlib.import_module(module), function)
    if entry.needs_folder:
        options["data_dir"] = data_dir
    elif data_dir is not None:
        raise ArgumentError(f"data set {name!r} needs no files: leave out `data_dir`, got {data_dir!r}.")
    known = [p for p in inspect.signature(loader).parameters if p not in ("form", "data_dir")]
    if extra := sorted(set(options) - {*known, "data_dir"}):
        raise ArgumentError(
            f"data set {name!r} takes no option {', '.join(map(repr, extra))}; "
            f"it takes: {', '.join(known) or 'none'}."
        )
    return loader(form, **options)
