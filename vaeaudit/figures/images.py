"""Pictures in a grid: data, reconstructions, samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.figures.style import FULL, style


def image_grid(
    images: Any,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
    max_columns: int = 12,
) -> Figure:
    """Pictures, a row per label (data, reconstructions of each model, prior samples, …).

    Parameters
    ----------
    images
        (row, column, height, width) grey or (row, column, height, width, 3) colour.
    row_labels, column_labels
        As many as rows and columns, or none.
    value_range
        Values shown as black and as white; values outside are clipped.
    max_columns
        Columns beyond this are left out.

    Raises
    ------
    ShapeError
        If the array is not a grid of pictures or the labels do not match it.
    """
    pictures = np.asarray(images, dtype=float)
    if (
        pictures.ndim not in (4, 5)
        or (pictures.ndim == 5 and pictures.shape[-1] not in (1, 3))
        or not pictures.size
    ):
        raise ShapeError(
            "`images` must be (row, column, height, width) or (row, column, height, width, 3); "
            f"got shape {pictures.shape}. "
            "Put pictures of one kind into one row: np.stack([data, reconstructions])."
        )
    if pictures.ndim == 5 and pictures.shape[-1] == 1:
        pictures = pictures[..., 0]
    for name, labels, count in (("row_labels", row_labels, 0), ("column_labels", column_labels, 1)):
        if len(labels) not in (0, pictures.shape[count]):
            raise ShapeError(f"`{name}` needs {pictures.shape[count]} labels; got {len(labels)}.")
    low, high = value_range
    if not high > low:
        raise ArgumentError(f"`value_range` must be (low, high) with low < high; got {value_range}.")
    pictures = np.clip((pictures[:, :max_columns] - low) / (high - low), 0.0, 1.0)
    rows, columns, height, width = pictures.shape[:4]
    gap = max(1, round(0.08 * width))
    mosaic = _mosaic(pictures, gap)
    with style():
        margin = max(map(_text_width, row_labels), default=0.0) + (0.12 if row_labels else 0.02)
        top = 0.24 if column_labels else 0.02
        across = (FULL - margin - 0.02) * min(columns / 6, 1.0)
        tall = across * mosaic.shape[0] / mosaic.shape[1]
        figure = Figure(figsize=(FULL, tall + top + 0.02))
        height_in = tall + top + 0.02
        axes = figure.add_axes((margin / FULL, 0.02 / height_in, across / FULL, tall / height_in))
        axes.imshow(mosaic, interpolation="nearest", aspect="equal")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.xaxis.tick_top()
        middle = np.arange(rows) * (height + gap) + (height - 1) / 2
        axes.set_yticks(middle if row_labels else [], list(row_labels) if row_labels else [])
        middle = np.arange(columns) * (width + gap) + (width - 1) / 2
        axes.set_xticks(
            middle if column_labels else [], list(column_labels[:columns]) if column_labels else []
        )
    return figure


def _text_width(text: str) -> float:
    """Width of a tick label in inches."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=8).get_extents().width) / 72 if text.strip() else 0.0


def _mosaic(pictures: np.ndarray, gap: int) -> np.ndarray:
    """All pictures as one, RGBA, with transparent gaps between them."""
    rows, columns, height, width = pictures.shape[:4]
    colour = pictures if pictures.ndim == 5 else np.repeat(pictures[..., None], 3, axis=-1)
    mosaic = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 4))
    for i in range(rows):
        for j in range(columns):
            top, left = i * (height + gap), j * (width + gap)
            mosaic[top : top + height, left : left + width, :3] = colour[i, j]
            mosaic[top : top + height, left : left + width, 3] = 1.0
    return mosaic
