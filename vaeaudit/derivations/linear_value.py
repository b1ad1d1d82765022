"""Each objective's exact population value at any linear VAE, for data N(0, S)."""

from __future__ import annotations

import math

import numpy as np
from scipy import integrate, optimize

from vaeaudit.core.errors import ArgumentError
from vaeaudit.derivations.linear_models import Matrices
from vaeaudit.derivations.linear_numeric import capacity_cost, charges, total_correlation_cost
from vaeaudit.derivations.linear_terms import direction_terms, setting
from vaeaudit.objectives import Objective, parse
from vaeaudit.objectives.aggregate import MMD, TotalCorrelation
from vaeaudit.objectives.importance import IWAE
from vaeaudit.objectives.kl_family import Capacity


def kernel_mean(cov: np.ndarray, constant: float) -> float:
    """E C/(C + ‖r‖²) for r ~ N(0, Σ): ∫₀^∞ e^{−t} |I + 2tΣ/C|^{−½} dt."""
    eigenvalues = np.maximum(np.linalg.eigvalsh(cov), 0.0)

    def integrand(t: float) -> float:
        return math.exp(-t) * float(np.prod(1 + 2 * t * eigenvalues / constant)) ** -0.5

    return float(integrate.quad(integrand, 0, math.inf, epsabs=1e-12, epsrel=1e-11)[0])


def squared_mmd(aggregate: np.ndarray) -> float:
    """MMD² between N(0, C) and N(0, I) for the kernel C/(C + ‖a − b‖²), C = 2J."""
    size = len(aggregate)
    eye, constant = np.eye(size), 2.0 * size
    own = kernel_mean(2 * aggregate, constant) + kernel_mean(2 * eye, constant)
    return own - 2 * kernel_mean(aggregate + eye, constant)


def population_value(objective: str | Objective, model: Matrices, cov: np.ndarray) -> float:
    """The objective averaged over data N(0, S), nats per datum.

    Raises
    ------
    ArgumentError
        For importance weights: L_K has no closed form away from its optimum.
    """
    objective = parse(objective)
    if isinstance(objective, IWAE):
        raise ArgumentError(f"{objective.name!r} has no closed form; its ELBO and log p(x) enclose it.")
    fit = model.expected_fit(cov)
    w, a = model.weight, model.enc_weight
    if isinstance(objective, MMD):
        aggregate = a @ cov @ a.T + np.diag(model.scale**2)
        return fit - setting(objective.weight) * squared_mmd(aggregate)
    with np.errstate(divide="ignore"):
        log_scale = np.log(model.scale)
    terms = direction_terms(objective)
    if terms.floor > 0:
        return fit - float(np.maximum(model.rate_by_latent(cov), terms.floor).sum())
    if isinstance(objective, TotalCorrelation):
        return fit - total_correlation_cost(setting(objective.weight), cov)(w, a, log_scale)[0]
    if isinstance(objective, Capacity):
        cost = capacity_cost(setting(objective.target), setting(objective.weight), cov)
        return fit - cost(w, a, log_scale)[0]
    if terms.kl == 0.0:  # no 0 · log 0
        log_scale = np.maximum(log_scale, -700.0)
    charge = charges(terms, cov)(w, a, log_scale)[0]
    return fit - charge - terms.loc * float(np.sum(model.enc_bias**2))


def mmd_given_scale(weight: float, spectrum: np.ndarray, scale: np.ndarray, noise_scale: float) -> Matrices:
    """The best decoder and loc map of the MMD objective for scales that are held, on the principal axes.

    Notes
    -----
    The supremum is at σ → 0, where the pull on log σ dies out as σ²: training only creeps towards it.
    What it reaches is held against the optimum at the scales it has.
    """
    latent_dim, size = len(scale), len(spectrum)
    cov = np.diag(spectrum)
    root = np.sqrt(spectrum[:latent_dim])

    def model(flat: np.ndarray) -> Matrices:
        w, a = np.zeros((size, latent_dim)), np.zeros((latent_dim, size))
        np.fill_diagonal(w, flat[:latent_dim])
        np.fill_diagonal(a, flat[latent_dim:])
        return Matrices(w, np.zeros(size), a, np.zeros(latent_dim), scale, noise_scale)

    objective = parse(f"mmd({weight!r})")
    found = optimize.minimize(
        lambda flat: -population_value(objective, model(flat), cov),
        np.concatenate([root, 1 / root]),
        method="BFGS",
        options={"gtol": 1e-7},
    )
    return model(found.x)
