"""Figures drawn from tidy frames: frame in, matplotlib Figure out.

Public names are loaded on first use, so that importing this package does not import matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaeaudit.figures.bounds import bound_scatter
    from vaeaudit.figures.heatmap import cross_table_heatmap
    from vaeaudit.figures.histograms import posterior_histograms
    from vaeaudit.figures.images import image_grid
    from vaeaudit.figures.intervals import evidence_intervals
    from vaeaudit.figures.latents import latent_scatter
    from vaeaudit.figures.lines import active_unit_curve, curves
    from vaeaudit.figures.panels import curve_panels
    from vaeaudit.figures.plane import rate_distortion_plane
    from vaeaudit.figures.training import training_curves

_PUBLIC = {
    "active_unit_curve": "lines",
    "bound_scatter": "bounds",
    "cross_table_heatmap": "heatmap",
    "curve_panels": "panels",
    "curves": "lines",
    "evidence_intervals": "intervals",
    "image_grid": "images",
    "latent_scatter": "latents",
    "posterior_histograms": "histograms",
    "rate_distortion_plane": "plane",
    "training_curves": "training",
}

__all__ = [
    "active_unit_curve",
    "bound_scatter",
    "cross_table_heatmap",
    "curve_panels",
    "curves",
    "evidence_intervals",
    "image_grid",
    "latent_scatter",
    "posterior_histograms",
    "rate_distortion_plane",
    "training_curves",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(f"vaeaudit.figures.{_PUBLIC[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'vaeaudit.figures' has no attribute {name!r}")
