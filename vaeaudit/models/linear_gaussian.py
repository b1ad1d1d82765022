"""A VAE about which everything is known in closed form: linear decoder, linear encoder, Gaussian noise."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vaeaudit.core.arrays import Data, KeyLike, Latents, PerLatent, PerSample, as_key
from vaeaudit.core.errors import ArgumentError, ScaleError, ShapeError
from vaeaudit.core.exact_gaussian import LinearGaussian
from vaeaudit.core.gaussian import LOG_2PI
from vaeaudit.models.linear_encoder import LinearEncoder, PopulationTruth
from vaeaudit.models.vae import AbstractVAE


class LinearGaussianVAE(AbstractVAE):
    """VAE with x|z ~ N(W z + b, s² I) and q(z|x) = N(A x + c, diag σ²).

    A pytree of float32 arrays like any other model, trainable as it is; the ``exact_*`` methods work
    in float64 on the host from the values the arrays hold. Data of any event shape are flattened.
    """

    weight: Array  # W, (D, J)
    bias: Array  # b, (D,)
    noise_scale: Array  # s, ()
    enc_weight: Array  # A, (J, D)
    enc_bias: Array  # c, (J,)
    enc_scale: Array  # σ, (J,)

    def __init__(
        self,
        *,
        weight: object,
        bias: object,
        noise_scale: object,
        enc_weight: object,
        enc_bias: object,
        enc_scale: object,
    ) -> None:
        self.weight, self.bias, self.noise_scale, self.enc_weight, self.enc_bias, self.enc_scale = (
            jnp.asarray(a, dtype=jnp.float32)
            for a in (weight, bias, noise_scale, enc_weight, enc_bias, enc_scale)
        )
        if self.weight.ndim != 2:
            raise ShapeError(f"`weight` must be (data, latent); got shape {self.weight.shape}.")
        d, j = self.weight.shape
        expected = {
            "bias": (d,),
            "noise_scale": (),
            "enc_weight": (j, d),
            "enc_bias": (j,),
            "enc_scale": (j,),
        }
        for name, shape in expected.items():
            if (got := getattr(self, name).shape) != shape:
                raise ShapeError(f"`{name}` must have shape {shape} beside a weight of {(d, j)}; got {got}.")

    @property
    def latent_dim(self) -> int:  # type: ignore[override]
        """Number of latent dimensions J."""
        return self.weight.shape[1]

    def encode(self, x: Data) -> tuple[PerLatent, PerLatent]:
        loc = x.reshape(x.shape[0], -1) @ self.enc_weight.T + self.enc_bias
        return loc, jnp.broadcast_to(self.enc_scale, loc.shape)

    def decode(self, z: Latents) -> Array:
        """W z + b over the last axis of z."""
        return z @ self.weight.T + self.bias

    def log_likelihood(self, x: Data, z: Latents) -> PerSample:
        u = (x.reshape(x.shape[0], -1) - self.decode(z)) / self.noise_scale
        return jnp.sum(-0.5 * u * u - jnp.log(self.noise_scale) - 0.5 * LOG_2PI, axis=-1)

    def head_weight_sq(self) -> Array:
        return jnp.sum(self.enc_weight**2)

    def decoder_weight_sq(self) -> Array:
        return jnp.sum(self.weight**2)

    # -- exact answers, float64 ------------------------------------------------------------------

    @property
    def generative(self) -> LinearGaussian:
        """The decoder's model in float64: log evidence, posterior, samples."""
        return LinearGaussian(_f64(self.weight), _f64(self.bias), float(self.noise_scale))

    @property
    def exact(self) -> LinearEncoder:
        """Encoder and decoder in float64: what the ``exact_*`` methods evaluate."""
        return LinearEncoder(
            self.generative, _f64(self.enc_weight), _f64(self.enc_bias), _f64(self.enc_scale)
        )

    def exact_log_evidence(self, x: object) -> np.ndarray:
        """Log p(x), (batch,)."""
        return self.generative.log_evidence(self._flat(x))

    def posterior(self, x: object) -> tuple[np.ndarray, np.ndarray]:
        """Mean (batch, J) and covariance (J, J) of the exact p(z|x)."""
        return self.generative.posterior(self._flat(x))

    def exact_rate(self, x: object) -> np.ndarray:
        """KL(q(z|x) ‖ p(z)), (batch,)."""
        return self.exact.rate(self._flat(x))

    def exact_distortion(self, x: object) -> np.ndarray:
        """−E_q log p(x|z), (batch,)."""
        return self.exact.distortion(self._flat(x))

    def exact_elbo(self, x: object) -> np.ndarray:
        """−(rate + distortion), (batch,)."""
        return -(self.exact_rate(x) + self.exact_distortion(x))

    def exact_inference_gap(self, x: object) -> np.ndarray:
        """KL(q(z|x) ‖ p(z|x)), (batch,): by its own formula, not as a difference."""
        return self.exact.inference_gap(self._flat(x))

    def population(self, data_mean: object = None, data_cov: object = None) -> PopulationTruth:
        """Averages over data x ~ N(m, S); over the model's own N(b, WWᵀ + s²I) by default.

        Parameters
        ----------
        data_mean
            m, (D,).
        data_cov
            S, (D, D), positive semi-definite.

        Returns
        -------
        PopulationTruth
            q(z) = N(A m + c, A S Aᵀ + diag σ²) and its divergences; rate, distortion, ELBO, evidence.

        Notes
        -----
        Given the mean and the covariance (with divisor N) of a finite sample, `rate`, `distortion`,
        `elbo`, `log_evidence` and `inference_gap` are the sample's own averages, exactly; the
        aggregate posterior is still the Gaussian one, not the sample's mixture.
        """
        g = self.generative
        m = g.bias if data_mean is None else _f64(data_mean).reshape(-1)
        s = g.cov if data_cov is None else _f64(data_cov)
        if m.shape != g.bias.shape or s.shape != g.cov.shape:
            raise ShapeError(
                f"`data_mean` and `data_cov` must have shapes {g.bias.shape} and {g.cov.shape}; "
                f"got {m.shape} and {s.shape}."
            )
        return self.exact.population(m, s)

    def _flat(self, x: object) -> np.ndarray:
        array = _f64(x)
        if array.ndim < 2 or array[0].size != self.weight.shape[0]:
            raise ShapeError(
                f"`x` must be (batch, *event) with {len(self.weight)} values per datum; got {array.shape}."
            )
        return array.reshape(len(array), -1)

    # -- constructors ----------------------------------------------------------------------------

    @classmethod
    def optimal(cls, weight: object, bias: object = None, noise_scale: float = 1.0) -> LinearGaussianVAE:
        """The given decoder with the best diagonal encoder (see `with_optimal_encoder`)."""
        w = _f64(weight)
        if w.ndim != 2:
            raise ShapeError(f"`weight` must be (data, latent); got shape {w.shape}.")
        if not noise_scale > 0:
            raise ScaleError(f"`noise_scale` must be positive; got {noise_scale!r}.")
        d, j = w.shape
        b = np.zeros(d) if bias is None else bias
        blank = {"enc_weight": np.zeros((j, d)), "enc_bias": np.zeros(j), "enc_scale": np.ones(j)}
        return cls(weight=w, bias=b, noise_scale=noise_scale, **blank).with_optimal_encoder()

    @classmethod
    def random(
        cls, rng_key: KeyLike, *, data_dim: int, latent_dim: int, noise_scale: float = 0.5
    ) -> LinearGaussianVAE:
        """Weights W ~ N(0, 1/J) and bias b ~ N(0, 1), with the best diagonal encoder."""
        import jax

        w_key, b_key = jax.random.split(as_key(rng_key))
        weight = jax.random.normal(w_key, (data_dim, latent_dim)) / np.sqrt(latent_dim)
        return cls.optimal(weight, jax.random.normal(b_key, (data_dim,)), noise_scale)

    @classmethod
    def ppca(
        cls, data_cov: object, latent_dim: int, *, data_mean: object = None, noise_scale: float | None = None
    ) -> LinearGaussianVAE:
        r"""Maximum-likelihood probabilistic PCA of data with the given covariance.

        W = U_J (Λ_J − s² I)^½,   s² = mean of the discarded eigenvalues

        Parameters
        ----------
        data_cov
            Covariance of the data, (D, D).
        latent_dim
            J; below D unless ``noise_scale`` is given.
        data_mean
            Becomes the bias; zero when omitted.
        noise_scale
            A fixed s; the best one when omitted.

        Returns
        -------
        LinearGaussianVAE
            Columns of W are orthogonal, so the encoder is the exact posterior.

        References
        ----------
        Tipping & Bishop (1999), eqs. 7 and 8.
        """
        cov = _f64(data_cov)
        if cov.ndim != 2 or cov.shape[0] != cov.shape[1]:
            raise ShapeError(f"`data_cov` must be square; got shape {cov.shape}.")
        d = len(cov)
        if not 1 <= latent_dim <= d:
            raise ArgumentError(
                f"`latent_dim` must lie in 1…{d} for data of dimension {d}; got {latent_dim}."
            )
        if noise_scale is None and latent_dim == d:
            raise ArgumentError(
                f"latent_dim = {d} discards no eigenvalue, so the likelihood has no best noise scale; "
                "pass `noise_scale`, or fewer latents."
            )
        values, vectors = np.linalg.eigh(cov)
        values, vectors = values[::-1], vectors[:, ::-1]
        vectors = vectors * np.sign(vectors[np.argmax(np.abs(vectors), axis=0), np.arange(d)])
        s2 = float(np.mean(values[latent_dim:])) if noise_scale is None else noise_scale**2
        if not s2 > 0:
            raise ScaleError(
                f"the discarded eigenvalues average to {s2:.3g}: the data lie in a subspace of dimension "
                f"{latent_dim} and the likelihood is unbounded. Pass `noise_scale` or fewer latents."
            )
        kept = np.sqrt(np.maximum(values[:latent_dim] - s2, 0.0))
        return cls.optimal(vectors[:, :latent_dim] * kept, data_mean, float(np.sqrt(s2)))

    def with_encoder(self, enc_weight: object, enc_bias: object, enc_scale: object) -> LinearGaussianVAE:
        """The same decoder with another encoder."""
        return LinearGaussianVAE(
            weight=self.weight,
            bias=self.bias,
            noise_scale=self.noise_scale,
            enc_weight=enc_weight,
            enc_bias=enc_bias,
            enc_scale=enc_scale,
        )

    def with_optimal_encoder(self) -> LinearGaussianVAE:
        """The diagonal encoder with the largest ELBO: exact mean, σ_j² = 1 / posterior precision_jj.

        It is the exact posterior where that has a diagonal covariance; elsewhere σ_j is smaller than
        the posterior's standard deviation.
        """
        g = self.generative
        a = g.posterior_weight
        return self.with_encoder(a, -a @ g.bias, np.diag(g.posterior_precision) ** -0.5)

    def with_exact_posterior(self) -> LinearGaussianVAE:
        """The encoder that equals p(z|x).

        Raises
        ------
        ArgumentError
            If the posterior's covariance is not diagonal, so that no diagonal encoder equals it.
        """
        p = self.generative.posterior_precision
        sd = np.sqrt(np.diag(p))
        largest = float(np.max(np.abs(p / np.outer(sd, sd) - np.eye(len(p)))))
        if largest > 1e-5:
            raise ArgumentError(
                "the posterior's covariance must be diagonal for a diagonal encoder to equal it; its "
                f"precision has partial correlations up to {largest:.3g}. Use weights with orthogonal "
                "columns (`LinearGaussianVAE.ppca`), or `with_optimal_encoder()` for the best diagonal one."
            )
        return self.with_optimal_encoder()

    def mismatched(self, scale_factor: float = 1.0, mean_shift: float = 0.0) -> LinearGaussianVAE:
        """The encoder with σ × ``scale_factor`` and every mean moved by ``mean_shift`` posterior sds."""
        if not scale_factor > 0:
            raise ScaleError(f"`scale_factor` must be positive; got {scale_factor!r}.")
        sd = np.sqrt(np.diag(self.generative.posterior_cov))
        return self.with_encoder(
            self.enc_weight, _f64(self.enc_bias) + mean_shift * sd, _f64(self.enc_scale) * scale_factor
        )


def _f64(value: object) -> np.ndarray:
    return np.asarray(value, dtype=np.float64)
