"""β·KL against another decoder variance, in pairs from one start; and the β that a reduced loss hides."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from _networks import as_linear, weight_vector

import vaeaudit as va

LINEAR_LATENTS, LINEAR_SCALE = 4, 0.5  # J, and s of the model at β = 1


def _linear(rng_key: Any, *, data_dim: int, noise_scale: float) -> va.NeuralVAE:
    return va.mlp_vae(
        rng_key,
        event_shape=(data_dim,),
        latent_dim=LINEAR_LATENTS,
        hidden=(),
        shared_scale=True,
        likelihood="gaussian",
        likelihood_scale=noise_scale,
    )


def same_path(config: Mapping[str, Any]) -> pd.DataFrame:
    """E log p(x|z) − β KL at noise s and the ELBO at noise √β s: same starts, batches and draws of z.

    One row per β and seed: mean held-out log p(x) of the β model under s and under √β s, of the ELBO's
    model under √β s, and the distance of the two models as a share of the way travelled.
    """
    data = va.load_data("linear_gaussian")
    x, size = data.train[:500], data.train.shape[1]
    options = {
        "seeds": config["seeds"],
        "epochs": config["pair_epochs"],
        "batch_size": len(x),
        "learning_rate": 0.02,
        "schedule": "cosine",
    }
    rows = []
    for beta in config["pair_weights"]:
        implied = math.sqrt(beta) * LINEAR_SCALE
        wide, narrow = (
            va.sweep(
                functools.partial(_linear, data_dim=size, noise_scale=scale), [name], x, **options
            ).models
            for scale, name in ((LINEAR_SCALE, f"beta({beta:g})"), (implied, "elbo"))
        )
        for seed, a, b in zip(config["seeds"], wide, narrow, strict=True):
            start = weight_vector(_linear(seed, data_dim=size, noise_scale=LINEAR_SCALE))
            apart = np.linalg.norm(weight_vector(a) - weight_vector(b)) / np.linalg.norm(
                weight_vector(a) - start
            )
            row = {"weight": beta, "seed": seed, "relative_distance": float(apart)}
            for name, model in (
                ("scaled_nominal", as_linear(a, LINEAR_SCALE)),
                ("scaled_implied", as_linear(a, implied)),
                ("elbo_implied", as_linear(b, implied)),
            ):
                row[f"log_evidence_{name}"] = float(model.exact_log_evidence(data.test).mean())
            rows.append(row)
    return pd.DataFrame(rows)


def same_optimum(config: Mapping[str, Any]) -> pd.DataFrame:
    """Both of a pair trained without noise (E_q log p(x|z) in closed form), against the derived optimum."""
    train = va.load_data("linear_gaussian").train
    spectrum = np.linalg.eigvalsh(np.cov(train.T, bias=True))[::-1]
    parts = []
    for beta in config["pair_weights"]:
        sides = [
            va.train_linear_gaussian(
                spectrum,
                LINEAR_LATENTS,
                [name],
                scale,
                seeds=config["seeds"],
                epochs=2 * config["pair_epochs"],
            )
            for name, scale in ((f"beta({beta:g})", LINEAR_SCALE), ("elbo", math.sqrt(beta) * LINEAR_SCALE))
        ]
        read = sides[0].replace({"quantity": {"log_evidence_implied": "log p(x), noise √β s"}})
        other = sides[1].replace({"quantity": {"log_evidence": "log p(x), noise √β s"}})
        both = read.merge(other, on=["seed", "quantity", "direction"], suffixes=("_beta", "_elbo"))
        both = both[
            both["quantity"].isin(["log p(x), noise √β s", "weight_sq", "scale", "weight_times_loc_map"])
        ]
        both["difference"] = (both["trained_beta"] - both["trained_elbo"]).abs()
        parts.append(
            both.groupby(["quantity", "direction"], sort=False, as_index=False)
            .agg(
                derived=("derived_beta", "first"),
                trained_beta=("trained_beta", "mean"),
                trained_elbo=("trained_elbo", "mean"),
                largest_difference=("difference", "max"),
            )
            .assign(weight=beta)
        )
    table = pd.concat(parts, ignore_index=True)
    return table[["weight", *[c for c in table.columns if c != "weight"]]]


REDUCTIONS = (  # how each term is reduced over its own axis, and a weight as written in the code
    ("sum over pixels", "sum over latents", 1.0),
    ("mean over pixels", "sum over latents", 1.0),
    ("mean over pixels", "mean over latents", 1.0),
    ("sum over pixels", "mean over latents", 1.0),
    ("mean over pixels", "sum over latents", 0.1),
    ("mean over pixels", "sum over latents", 1.0 / 64),
)


def hidden_weights(model: Any, x: np.ndarray, seed: int) -> pd.DataFrame:
    """The β that each way of reducing ‖x − x̂‖² + w·KL stands for, and its gradient against that β's.

    ``cosine`` and ``relative_error`` compare the coded loss's gradient with that of −(E log p(x|z) − β KL)
    at variance ½, times the factor between the two, on one batch with the same noise.
    """
    size, latents = int(np.prod(x.shape[1:])), model.latent_dim
    params, static = eqx.partition((model.encoder, model.decoder), eqx.is_inexact_array)
    key = jax.random.key(seed)

    def parts(params: Any) -> tuple[Any, Any]:
        encoder, decoder = eqx.combine(params, static)
        loc, log_scale = encoder(x)
        z = loc + jnp.exp(log_scale) * jax.random.normal(key, loc.shape)
        kl = 0.5 * (loc**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale)
        return (decoder(z).reshape(x.shape) - x).reshape(len(x), -1) ** 2, kl

    def gradient(value: Any) -> np.ndarray:
        leaves = jax.tree.leaves(jax.grad(value)(params))
        return np.concatenate([np.asarray(leaf, dtype=float).ravel() for leaf in leaves])

    rows = []
    for over_pixels, over_latents, weight in REDUCTIONS:
        pixel = 1 / size if over_pixels.startswith("mean") else 1.0
        latent = weight / latents if over_latents.startswith("mean") else weight
        beta = latent / pixel

        def coded(params: Any, a: str = over_pixels, b: str = over_latents, w: float = weight) -> Any:
            error, kl = parts(params)
            first = (jnp.mean if a.startswith("mean") else jnp.sum)(error, axis=1)
            second = (jnp.mean if b.startswith("mean") else jnp.sum)(kl, axis=1)
            return jnp.mean(first + w * second)

        def meant(params: Any, beta: float = beta) -> Any:
            error, kl = parts(params)
            return jnp.mean(jnp.sum(error, axis=1) + beta * jnp.sum(kl, axis=1))

        one, other = gradient(coded), pixel * gradient(meant)
        rows.append(
            {
                "squared_error": over_pixels,
                "kl": over_latents,
                "weight_in_code": weight,
                "hidden_beta": beta,
                "implied_variance": 0.5 * beta,
                "cosine": float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)),
                "relative_error": float(np.linalg.norm(one - other) / np.linalg.norm(other)),
            }
        )
    return pd.DataFrame(rows)
