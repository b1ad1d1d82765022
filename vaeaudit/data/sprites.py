"""Small pictures of one shape, drawn from five known factors, for disentanglement scores."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vaeaudit.core.errors import ArgumentError
from vaeaudit.data.dataset import Dataset, binarised, hashed_split

SOURCE = (
    "Drawn by this package: one rectangle, ellipse or triangle per picture at 4 scales, 8 rotations and "
    "8 × 8 positions; after dSprites, Matthey et al. (2017)."
)
FACTOR_NAMES = ("shape", "scale", "rotation", "x", "y")
FACTOR_SIZES = (3, 4, 8, 8, 8)
SHARES = (0.8, 0.1, 0.1)
_SUB = 4  # subpixels per pixel and axis


def _inside(shape: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether (u, v), in units of the half-length, lies in the shape."""
    if shape == 0:
        return (np.abs(u) < 0.92) & (np.abs(v) < 0.43)
    if shape == 1:
        return u**2 + (v / 0.52) ** 2 < 1.0
    # isosceles triangle with vertices (1, 0), (−0.75, ±0.66)
    return (u > -0.75) & (np.abs(v) < 0.66 * (1.0 - u) / 1.75)


@lru_cache(maxsize=2)
def draw_sprites(size: int) -> np.ndarray:
    """All 6,144 pictures (N, size, size) in [0, 1], ordered by factors, the last changing fastest.

    Notes
    -----
    A sprite is drawn once per shape, scale and rotation on a canvas that leaves room for every
    position, and positions are windows of that canvas: they differ by whole pixels. A pixel's value
    is the covered share of its 4 × 4 subpixels.
    """
    step = size // 16
    travel = 7 * step
    canvas = size + travel
    # subpixel centres relative to the canvas's centre, in pixels
    axis = (np.arange(canvas * _SUB) + 0.5) / _SUB - canvas / 2 + 0.013
    y, x = np.meshgrid(axis, axis, indexing="ij")
    pictures = np.empty((*FACTOR_SIZES, size, size), dtype=np.float32)
    for shape in range(3):
        for scale in range(4):
            half = size * (0.16 + 0.036 * scale)
            for rotation in range(8):
                angle = np.pi * rotation / 8 + 0.1
                u = (np.cos(angle) * x + np.sin(angle) * y) / half
                v = (np.cos(angle) * y - np.sin(angle) * x) / half
                fine = _inside(shape, u, v).reshape(canvas, _SUB, canvas, _SUB)
                sprite = fine.mean(axis=(1, 3), dtype=np.float32)
                windows = np.lib.stride_tricks.sliding_window_view(sprite, (size, size))
                # a window that starts later shows the sprite further left or up: hence the reversal
                pictures[shape, scale, rotation] = windows[::-step, ::-step].swapaxes(0, 1)
    return pictures.reshape(-1, size, size)


def load_sprites(form: str, *, size: int = 16) -> Dataset:
    """Load the sprites: ``binary`` (covered share ≥ ½) or ``grey`` (covered share).

    Parameters
    ----------
    form
        ``"binary"`` or ``"grey"``.
    size
        Height and width in pixels: 16 or 32.

    Returns
    -------
    Dataset
        4,916 / 614 / 614 pictures. ``train_factors`` and so on hold the indices (N, 5) of
        ``factor_names``: shape (3), scale (4), rotation (8, over half a turn), x (8), y (8); every
        combination occurs once. Labels are the shapes.

    Raises
    ------
    ArgumentError
        For another size.

    Notes
    -----
    All grey pictures differ, and all binary ones of size 32. In binary form at size 16 small shapes
    can coincide: 5,952 of the 6,144 pictures are distinct, so no code tells all factors apart.
    """
    if size not in (16, 32):
        raise ArgumentError(f"`size` must be 16 or 32; got {size!r}.")
    grey = draw_sprites(size)
    x = grey if form == "grey" else binarised(grey)
    factors = np.indices(FACTOR_SIZES).reshape(5, -1).T.astype(np.int32)
    train, validation, test = hashed_split("sprites", len(x), SHARES)
    return Dataset(
        name="sprites",
        form=form,
        support="unit interval" if form == "grey" else "binary",
        train=x[train],
        validation=x[validation],
        test=x[test],
        train_labels=factors[train, 0],
        validation_labels=factors[validation, 0],
        test_labels=factors[test, 0],
        train_factors=factors[train],
        validation_factors=factors[validation],
        test_factors=factors[test],
        factor_names=FACTOR_NAMES,
        source=SOURCE,
    )
