"""Data and networks of the study on scaling the KL: grey digits under a Gaussian decoder."""

from __future__ import annotations

import math
from typing import Any

import vaeaudit as va

DATA = {"name": "digits", "form": "grey"}
VARIANCE = 0.5  # of the decoder: ‖x − x̂‖² = −log p(x|z) + constant


def build(rng_key: Any, *, latent_dim: int, variance: float = VARIANCE) -> va.NeuralVAE:
    """One hidden layer of 64 on each side of the latents."""
    return va.mlp_vae(
        rng_key,
        event_shape=(8, 8),
        latent_dim=latent_dim,
        hidden=(64,),
        likelihood="gaussian",
        likelihood_scale=math.sqrt(variance),
    )
