"""Pictures in a grid: data, reconstructions, samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeaudit.core.errors import ArgumentError, ShapeError
from vaeaudit.figures.style import FULL, new_figure, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    with style():
        label_width = 0.075 * max((len(x) for x in row_labels), default=0)
        side = (FULL - label_width) / max(columns, 6)
        height_in = rows * side * height / width * 1.06 + (0.3 if column_labels else 0.05)
        figure = new_figure(FULL, max(height_in, 0.6), tight=True)
        grid = figure.subplots(rows, columns, squeeze=False)
        for i in range(rows):
            for j in range(columns):
                axes = grid[i][j]
                axes.imshow(pictures[i, j], cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            if row_labels:
                grid[i][0].set_ylabel(row_labels[i], rotation=0, ha="right", va="center")
        for j, text in enumerate(column_labels[:columns]):
            grid[0][j].set_title(text, loc="center", fontsize=7.5)
    return figure
