"""Trained models of the calibration study: against quadrature, at MNIST's size, and their inference gap."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import pandas as pd
from scipy.ndimage import zoom

import vaeaudit as va
from vaeaudit.core.errors import DataError

METHODS = (("iw", "encoder"), ("iw", "defensive"), ("iw", "adapted"), ("auto", "encoder"))
LARGE = (28, 28)


def zoomed_digits() -> va.Dataset:
    """The bundled 8 × 8 digits, interpolated linearly to 28 × 28 and cut at ½: images of MNIST's size."""
    grey = va.load_data("digits", form="grey")

    def enlarge(images: np.ndarray) -> np.ndarray:
        factor = (1, LARGE[0] / images.shape[1], LARGE[1] / images.shape[2])
        return (zoom(images, factor, order=1) >= 0.5).astype(np.float32)

    splits = {name: enlarge(getattr(grey, name)) for name in ("train", "validation", "test")}
    source = f"{grey.source} Interpolated to 28 × 28."
    return dataclasses.replace(
        grey, name="digits, 28 × 28", form="binary", support="binary", sha256="", source=source, **splits
    )


def large_data(source: str) -> va.Dataset:
    """``"mnist"`` where its files are at hand or can be fetched, else the digits at MNIST's size."""
    if source == "mnist":
        try:
            return va.load_data("mnist", form="binary")
        except DataError:
            pass  # the table names the data used, and the page says what to do
    return zoomed_digits()


def train(data: va.Dataset, latents: int, hidden: int, epochs: int) -> va.NeuralVAE:
    """An ELBO-trained VAE with one hidden layer on each side."""
    model = va.mlp_vae(0, event_shape=data.event_shape, latent_dim=latents, hidden=(hidden,))
    return va.fit(model, va.objectives.elbo(), data, rng_key=0, epochs=epochs).model


def compare(model: va.NeuralVAE, x: np.ndarray, num_samples: int) -> list[tuple[str, Any, float]]:
    """Every method on the same data: name, result, seconds (programs compiled by a first call)."""
    found = []
    for method, proposal in (*METHODS, ("ais", "encoder")):
        name = f"{method}/{proposal}" if method == "iw" else method
        va.log_evidence(model, x, 0, method, num_samples, proposal=proposal)
        start = time.perf_counter()
        ev = va.log_evidence(model, x, 1, method, num_samples, proposal=proposal)
        found.append((name, ev, time.perf_counter() - start))
    return found


def describe(ev: Any) -> dict[str, float]:
    """What a result says of itself."""
    return {
        "mean": float(ev.value.mean()),
        "refused": float(np.mean(~ev.reliable)),
        "median_se": float(np.median(ev.se)),
        "median_pareto_k": float(np.nanmedian(ev.pareto_k)) if np.isfinite(ev.pareto_k).any() else np.nan,
    }


def trained(latents: int, epochs: int) -> pd.DataFrame:
    """A VAE trained on binary digits: each method against quadrature (2 latents), and what is refused."""
    data = va.load_data("digits", form="binary")
    model = train(data, latents, 64, epochs)
    x = data.test[:300]
    truth = va.log_evidence(model, x, method="quadrature") if latents <= 3 else None
    rows = []
    for method, proposal in METHODS:
        ev = va.log_evidence(model, x, 1, method, proposal=proposal)
        row: dict[str, Any] = {
            "latents": latents,
            "method": method if method == "auto" else f"{method}/{proposal}",
            **describe(ev),
        }
        if truth is not None:
            error = ev.value - truth.value
            kept = ev.reliable & truth.reliable
            row |= {
                "mean_error": float(error.mean()),
                "worst_error": float(np.abs(error).max()),
                "within_0.05": float(np.mean(np.abs(error) <= 0.05)),
                "within_0.05_or_flagged": float(np.mean((np.abs(error) <= 0.05) | ~ev.reliable)),
                "coverage": float(np.mean(((ev.lower <= truth.upper) & (truth.lower <= ev.upper))[kept])),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def large(
    source: str, hidden: int, latents: int, epochs: int, num_data: int, num_samples: int, temperatures: int
) -> pd.DataFrame:
    """A VAE of MNIST's size: each method on test data, and on simulated data against their bracket."""
    data = large_data(source)
    model = train(data, latents, hidden, epochs)
    bracket = va.evidence_bracket(model, 3, num_data, num_temperatures=temperatures)
    low, high = bracket.per_datum["lower"].to_numpy(), bracket.per_datum["upper"].to_numpy()
    rows = []
    for on, x in (("test data", data.test[:num_data]), ("simulated data", bracket.x)):
        for name, ev, seconds in compare(model, x, num_samples):
            row: dict[str, Any] = {
                "data": data.name,
                "model": f"{data.event_size}-{hidden}-{latents}",
                "on": on,
                "method": name,
                **describe(ev),
                "seconds_per_100": round(100 * seconds / num_data, 1),
            }
            if on == "simulated data":
                kept = ev.reliable
                meets = (ev.lower <= high) & (low <= ev.upper)
                row |= {
                    "meets_bracket": float(np.mean(meets[kept])) if kept.any() else np.nan,
                    "below_bracket": float(np.mean(low - ev.value)),
                    "bracket_gap": bracket.gap,
                }
            rows.append(row)
    return pd.DataFrame(rows)


def gap(latents: int, hidden: int, epochs: int, num_data: int, steps: int) -> pd.DataFrame:
    """The inference gap of a VAE on digits in two parts, on training and on test data."""
    data = va.load_data("digits", form="binary")
    model = train(data, latents, hidden, epochs)
    rows = []
    for split in ("train", "test"):
        x = getattr(data, split)[:num_data]
        found = va.inference_gap(model, x, 5, num_samples=2000, steps=steps, elbo_samples=500)
        for name, estimate in found.table.items():
            rows.append(
                {
                    "latents": latents,
                    "epochs": epochs,
                    "split": split,
                    "quantity": name,
                    "value": estimate.value,
                    "lower": estimate.lower,
                    "upper": estimate.upper,
                    "verdict": estimate.verdict,
                    "num_data": num_data,
                }
            )
    return pd.DataFrame(rows)
