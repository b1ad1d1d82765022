"""Likelihoods p(x|z) given the decoder's output: log densities in nats, means and samples."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.errors import SupportError
from vaeaudit.core.gaussian import LOG_2PI
from vaeaudit.models.support import Support, check_support


def softplus(logits: Array) -> Array:
    """log(1 + eˡ) as max(l, 0) + log1p(e^−|l|): faster on CPU than `jax.nn.softplus`.

    Both parts choose their branch by l > 0, so that the derivative is sigmoid(l) at l = 0 too, where
    the derivatives of `jnp.maximum` and `jnp.abs` would add up to 0.
    """
    positive = logits > 0
    return jnp.where(positive, logits, 0.0) + jnp.log1p(jnp.exp(jnp.where(positive, -logits, logits)))


def _sum_event(values: Array, x: Array) -> Array:
    """Sum (sample, batch, *event) over the event axes of x (batch, *event)."""
    return jnp.sum(values, axis=tuple(range(values.ndim - (x.ndim - 1), values.ndim)))


class AbstractLikelihood(eqx.Module):
    """p(x|z) as a function of the decoder's output ``out`` (sample, batch, *event)."""

    name: eqx.AbstractClassVar[str]
    support: eqx.AbstractClassVar[Support]

    def check_support(self, x: Any) -> None:
        """Raise `SupportError` if data lie where this likelihood gives no density."""
        check_support(self.name, self.support, x)

    def check_output(self, out: Any) -> None:
        """Raise `SupportError` if a decoder's output cannot be this likelihood's parameter.

        Any finite output can, unless a likelihood says otherwise.
        """
        return

    @abstractmethod
    def log_prob(self, x: Array, out: Array) -> Array:
        """Log p(x|z) in nats, (sample, batch), for x (batch, *event)."""

    @abstractmethod
    def mean(self, out: Array) -> Array:
        """E[x|z], same shape as ``out``."""

    @abstractmethod
    def sample(self, rng_key: Array, out: Array) -> Array:
        """One draw of x for each element of ``out``."""


class BernoulliLogits(AbstractLikelihood):
    """Bernoulli on {0, 1} with logits l: log p = x l − log(1 + eˡ)."""

    name: ClassVar[str] = "bernoulli_logits"
    support: ClassVar[Support] = "binary"

    def log_prob(self, x: Array, out: Array) -> Array:
        return _sum_event(x * out - softplus(out), x)

    def mean(self, out: Array) -> Array:
        return jax.nn.sigmoid(out)

    def sample(self, rng_key: Array, out: Array) -> Array:
        return jax.random.bernoulli(rng_key, jax.nn.sigmoid(out)).astype(out.dtype)


class BernoulliProbs(AbstractLikelihood):
    """Bernoulli on {0, 1} with probabilities, clipped to [1e−7, 1 − 1e−7] in the log density.

    A decoder that is sure and wrong pays 16.1 nats per pixel at most; with logits it pays the logit.
    """

    name: ClassVar[str] = "bernoulli_probs"
    support: ClassVar[Support] = "binary"

    def check_output(self, out: Any) -> None:
        low, high = float(np.min(out)), float(np.max(out))
        if low < -1e-6 or high > 1.0 + 1e-6:
            raise SupportError(
                f"a decoder for likelihood {self.name!r} must return probabilities in [0, 1]; got values in "
                f"[{low:g}, {high:g}]. If they are logits, use likelihood 'bernoulli_logits'."
            )

    def log_prob(self, x: Array, out: Array) -> Array:
        p = jnp.clip(out, 1e-7, 1.0 - 1e-7)
        return _sum_event(x * jnp.log(p) + (1.0 - x) * jnp.log1p(-p), x)

    def mean(self, out: Array) -> Array:
        return out

    def sample(self, rng_key: Array, out: Array) -> Array:
        return jax.random.bernoulli(rng_key, out).astype(out.dtype)


class ContinuousBernoulliLogits(AbstractLikelihood):
    r"""Continuous Bernoulli on [0, 1]: a normalised density for grey pixels.

    log p = x l − log(1 + eˡ) + log C(λ),   λ = sigmoid(l),   C = l / tanh(l/2) for l ≠ 0, else 2

    References
    ----------
    Loaiza-Ganem & Cunningham (2019), eqs. 6 and 7, written in the logit.
    """

    name: ClassVar[str] = "continuous_bernoulli_logits"
    support: ClassVar[Support] = "unit interval"

    @staticmethod
    def log_normaliser(logits: Array) -> Array:
        """Log C as a function of the logit; a Taylor series for |l| < ½, where the terms cancel."""
        small = jnp.abs(logits) < 0.5
        a = jnp.abs(jnp.where(small, 1.0, logits))
        exact = jnp.log(a) + jnp.log1p(jnp.exp(-a)) - jnp.log(-jnp.expm1(-a))  # |l| / tanh(|l|/2)
        v = jnp.where(small, logits, 0.0) ** 2
        series = math.log(2.0) + v * (1 / 12 + v * (-7 / 1440 + v * (31 / 90720 - v * 127 / 4838400)))
        return jnp.where(small, series, exact)

    def log_prob(self, x: Array, out: Array) -> Array:
        return _sum_event(x * out - softplus(out) + self.log_normaliser(out), x)

    def mean(self, out: Array) -> Array:
        """E[x] = 1/(1 − e^−l) − 1/l; a Taylor series for |l| < ½."""
        small = jnp.abs(out) < 0.5
        safe = jnp.where(small, 1.0, out)
        t = jnp.where(small, out, 0.0)
        v = t * t
        series = 0.5 + t * (1 / 12 + v * (-1 / 720 + v * (1 / 30240 - v / 1209600)))
        return jnp.where(small, series, -1.0 / jnp.expm1(-safe) - 1.0 / safe)

    def sample(self, rng_key: Array, out: Array) -> Array:
        """Inverse CDF: x = log(1 + u(eˡ − 1)) / l, and u + ½ l u(1 − u) near l = 0."""
        u = jax.random.uniform(rng_key, out.shape, out.dtype)
        small = jnp.abs(out) < 1e-3
        safe = jnp.where(small, 1.0, out)
        # for l > 0 use the mirrored form so that e^|l| never overflows
        a = jnp.abs(safe)
        v = jnp.where(safe > 0, 1.0 - u, u)
        y = -jnp.log1p(v * jnp.expm1(-a)) / a
        x = jnp.where(safe > 0, 1.0 - y, y)
        return jnp.clip(jnp.where(small, u + 0.5 * out * u * (1.0 - u), x), 0.0, 1.0)


class Gaussian(AbstractLikelihood):
    """Gaussian with one scale s for every pixel, fixed or learned; ``out`` is the mean."""

    name: ClassVar[str] = "gaussian"
    support: ClassVar[Support] = "real"

    log_scale: Array
    learned: bool = eqx.field(static=True, default=False)

    def __init__(self, scale: float | Array = 1.0, *, learned: bool = False) -> None:
        self.log_scale = jnp.log(jnp.asarray(scale, dtype=jnp.float32))
        self.learned = learned

    @property
    def scale(self) -> Array:
        """Standard deviation s of p(x|z)."""
        return jnp.exp(self.log_scale)

    def log_prob(self, x: Array, out: Array) -> Array:
        log_scale = self.log_scale if self.learned else jax.lax.stop_gradient(self.log_scale)
        u = (x - out) * jnp.exp(-log_scale)
        return _sum_event(-0.5 * u * u - log_scale - 0.5 * LOG_2PI, x)

    def mean(self, out: Array) -> Array:
        return out

    def sample(self, rng_key: Array, out: Array) -> Array:
        return out + self.scale * jax.random.normal(rng_key, out.shape, out.dtype)


class Laplace(AbstractLikelihood):
    """Laplace with one scale b for every pixel; ``out`` is the mean."""

    name: ClassVar[str] = "laplace"
    support: ClassVar[Support] = "real"

    log_scale: Array

    def __init__(self, scale: float | Array = 1.0) -> None:
        self.log_scale = jnp.log(jnp.asarray(scale, dtype=jnp.float32))

    def log_prob(self, x: Array, out: Array) -> Array:
        log_scale = jax.lax.stop_gradient(self.log_scale)
        return _sum_event(-jnp.abs(x - out) * jnp.exp(-log_scale) - log_scale - math.log(2.0), x)

    def mean(self, out: Array) -> Array:
        return out

    def sample(self, rng_key: Array, out: Array) -> Array:
        return out + jnp.exp(self.log_scale) * jax.random.laplace(rng_key, out.shape, out.dtype)


class CategoricalLogits(AbstractLikelihood):
    """Categorical over the last event axis; x is one-hot there, ``out`` holds the logits."""

    name: ClassVar[str] = "categorical_logits"
    support: ClassVar[Support] = "one-hot"

    def log_prob(self, x: Array, out: Array) -> Array:
        return _sum_event(x * jax.nn.log_softmax(out, axis=-1), x)

    def mean(self, out: Array) -> Array:
        return jax.nn.softmax(out, axis=-1)

    def sample(self, rng_key: Array, out: Array) -> Array:
        return jax.nn.one_hot(jax.random.categorical(rng_key, out), out.shape[-1], dtype=out.dtype)


LIKELIHOODS: dict[str, type[AbstractLikelihood]] = {
    cls.name: cls
    for cls in (
        BernoulliLogits,
        BernoulliProbs,
        ContinuousBernoulliLogits,
        Gaussian,
        Laplace,
        CategoricalLogits,
    )
}
