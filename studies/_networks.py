"""What several studies do with trained networks: read stored ones, flatten them, solve linear ones exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

import vaeaudit as va

LINEAR_GAUSSIAN: dict[str, Any] = {  # data and a linear model of them: log p(x) in closed form
    "title": "linear-Gaussian data and model, 4 latents (log p(x) in closed form)",
    "data": {"name": "linear_gaussian"},
    "model": {
        "latent_dim": 4,
        "hidden": (),
        "shared_scale": True,
        "likelihood": "gaussian",
        "likelihood_scale": 0.5,
    },
    "evidence": "closed form",
}


def as_linear(model: Any, noise_scale: Any = None) -> va.LinearGaussianVAE:
    """A network without hidden layers as the model whose log p(x) and gradients are exact.

    Read under ``noise_scale``, or under the network's own where none is given.
    """
    layer, encoder = model.decoder.layers[0], model.encoder
    return va.LinearGaussianVAE(
        weight=layer.weight,
        bias=layer.bias,
        noise_scale=model.likelihood.scale if noise_scale is None else noise_scale,
        enc_weight=encoder.loc_head.weight,
        enc_bias=encoder.loc_head.bias,
        enc_scale=np.exp(encoder.log_scale_head.bias),
    )


def weight_vector(model: Any) -> np.ndarray:
    """Weights of encoder and decoder in one vector; the likelihood's scale is left out."""
    leaves = jax.tree.leaves(eqx.filter((model.encoder, model.decoder), eqx.is_inexact_array))
    return np.concatenate([np.asarray(leaf, dtype=float).ravel() for leaf in leaves])


def stored_models(arrays: Mapping[str, np.ndarray], prefix: str, like: Any) -> list[Any]:
    """Models shaped ``like`` this one from the arrays whose names start with ``prefix``, in the sweep's order."""
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    return va.unstack_models(like, own)
