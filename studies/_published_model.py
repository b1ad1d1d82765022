"""What the published table says and how its models are built and trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import vaeaudit as va

PUBLISHED = (  # Burda, Grosse & Salakhutdinov (2016), table 1, MNIST, one stochastic layer
    ("VAE", 1, 86.76, 19),
    ("VAE", 5, 86.47, 20),
    ("VAE", 50, 86.35, 20),
    ("IWAE", 1, 86.76, 19),
    ("IWAE", 5, 85.54, 22),
    ("IWAE", 50, 84.78, 25),
)
SOURCE = (
    "Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders, ICLR; table 1 and section 5. "
    "Their code: github.com/yburda/iwae."
)
STAGES = 8  # i = 0, …, 7
UNITS_DATA = 500  # training data on which the authors' code counts active units


class SampledELBO(va.objectives.Objective):
    r"""The ELBO averaged over k draws, KL estimated with them: the paper's "VAE with k samples".

    L = (1/k) Σₖ log wₖ,   wₖ = p(x|zₖ) p(zₖ) / q(zₖ|x)

    Notes
    -----
    k = 1 is `iwae(1)`. The expectation is the ELBO for every k; k only lowers the gradient's noise.

    References
    ----------
    Burda, Grosse & Salakhutdinov (2016), eq. 7.
    """

    draws: int = eqx.field(static=True)  # k

    @property
    def name(self) -> str:
        return f"vae({self.draws})"

    @property
    def is_lower_bound(self) -> bool:
        return True

    @property
    def regulariser(self) -> Literal["kl"]:
        return "kl"

    @property
    def num_samples(self) -> int:
        return self.draws

    def __call__(self, terms: va.objectives.Terms) -> Array:
        return jnp.mean(terms.log_likelihood + terms.log_prior - terms.log_q, axis=0)


def objectives(draws: int) -> dict[str, va.objectives.Objective]:
    """Published name → objective for one k; at k = 1 both names are one objective."""
    vae = {"VAE": SampledELBO(draws)}
    return vae if draws == 1 else vae | {"IWAE": va.objectives.iwae(draws)}


def schedule(growth: float) -> tuple[int, Callable[[int, int], float]]:
    """Passes in all, and the learning-rate factor by pass: round(growthⁱ) passes at 10^(−i/7), i = 0…7.

    The paper's growth is 3: 3,280 passes. A smaller one keeps the eight learning rates and shortens the
    stages; growth 1 is eight passes, one at each rate.
    """
    ends = np.cumsum([round(growth**i) for i in range(STAGES)])

    def factor(epoch: int, epochs: int) -> float:
        stage = int(np.searchsorted(ends, epoch, side="right"))
        return 10.0 ** (-min(stage, STAGES - 1) / 7)

    return int(ends[-1]), factor


def build(
    rng_key: Any, *, event_shape: tuple[int, ...], latent_dim: int, hidden: tuple[int, ...], data_mean: Any
) -> va.NeuralVAE:
    """Tanh layers with Glorot weights; the output's bias is the logit of the training data's mean."""
    model = va.mlp_vae(rng_key, event_shape=event_shape, latent_dim=latent_dim, hidden=hidden)
    mean = np.clip(np.asarray(data_mean, np.float64).ravel(), 0.001, 0.999)
    bias = jnp.asarray(np.log(mean / (1 - mean)), jnp.float32)
    return eqx.tree_at(lambda m: m.decoder.layers[-1].bias, model, bias)


def binarised(grey: np.ndarray, seed: int) -> np.ndarray:
    """One draw of Bernoulli(grey) per pixel, fixed by ``seed``."""
    return (np.random.default_rng(seed).random(grey.shape) < grey).astype(np.float32)


def full_schedule(settings: Any) -> bool:
    """Whether these settings are the paper's, so that its numbers may be compared with."""
    return (
        settings["data"] == "mnist"
        and settings["num_train"] is None
        and math.isclose(settings["growth"], 3.0)
        and settings["batch_size"] == 20
        and list(settings["hidden"]) == [200, 200]
        and settings["latent_dim"] == 50
        and settings["num_test"] >= 10_000
        and settings["bound_samples"] == 5000
    )


DEVIATIONS = (  # what, the paper or its code, here
    (
        "training data",
        "60,000 images; the code keeps 400 of them for validation",
        "all 60,000 (our loader's training and validation parts together)",
    ),
    ("order of the data", "the code goes through them in one fixed order", "a new permutation in each pass"),
    (
        "training images",
        "drawn anew from Bernoulli(grey value) at each step",
        "the same",
    ),
    (
        "test images",
        "drawn once more when they are measured",
        "one draw, fixed by a seed, the same for every model; how much another draw would move the mean is measured",
    ),
    (
        "Adam",
        "β₁ = 0.9, β₂ = 0.999, ε = 10⁻⁴; the code has β₁ = 0.99, starts the second moments at 1, and takes the "
        "gradient of the sum over the minibatch",
        "β₁ = 0.9, β₂ = 0.999, second moments from 0, gradient of the mean over the minibatch with ε = 10⁻⁴/20, "
        "which is the same step as the sum with ε = 10⁻⁴",
    ),
    (
        "learning rates",
        "0.001 · 10^(−i/7); the code rounds the factor to two digits",
        "0.001 · 10^(−i/7)",
    ),
    (
        "initial weights",
        "Glorot; the code seeds every layer alike, so that all runs start from the same weights",
        "Glorot-uniform, another draw for each seed",
    ),
    (
        "runs",
        "one",
        "one per seed, intervals over seeds",
    ),
    (
        "active units",
        "variance of the posterior mean over the first 500 training images above 0.01 (the code; the paper does "
        "not say on which data)",
        "the same count, and the count on the measured test images with a bootstrap band over a range of thresholds",
    ),
    (
        "IWAE with k = 1",
        "the row repeats the VAE's",
        "the same: with one draw the two objectives are one, so one run stands for both rows",
    ),
)
