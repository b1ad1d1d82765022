"""A model given by its functions means the same in every framework and parameterisation."""

import importlib.util
import math
import subprocess
import sys

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError, ShapeError, UnknownNameError

LATENT, DIMS = 2, 3
rng = np.random.default_rng(0)
WEIGHT = rng.normal(size=(LATENT, DIMS))
ENCODER = rng.normal(size=(DIMS, LATENT)) / 3
SIGMA = np.array([0.3, 1.7])
X = rng.normal(size=(5, DIMS)).astype(np.float32)
Z = rng.normal(size=(4, 5, LATENT)).astype(np.float32)
SPREADS = {
    "loc_scale": SIGMA,
    "loc_log_scale": np.log(SIGMA),
    "loc_log_var": np.log(SIGMA**2),
    "loc_var": SIGMA**2,
}


def torch_or_skip():
    return pytest.importorskip(
        "torch", reason="PyTorch is not a dependency; its adapter is tested where it is"
    )


def build(framework="numpy", encoder_output="loc_scale", **options):
    fields = {"likelihood": "gaussian", "likelihood_scale": 0.5, **options}
    spread = SPREADS[encoder_output].astype(np.float32)
    if framework == "torch":
        torch = torch_or_skip()
        w, e, s = (torch.tensor(a, dtype=torch.float32) for a in (WEIGHT, ENCODER, spread))
        functions = {"encode": lambda x: (x @ e, s.expand(len(x), -1)), "decode": lambda z: z @ w}
    elif framework == "jax":
        w, e = jnp.asarray(WEIGHT, jnp.float32), jnp.asarray(ENCODER, jnp.float32)
        functions = {
            "encode": lambda x: (x @ e, jnp.broadcast_to(spread, (len(x), LATENT))),
            "decode": lambda z: z @ w,
        }
    else:
        functions = {
            "encode": lambda x: (x @ ENCODER, np.broadcast_to(spread, (len(x), LATENT))),
            "decode": lambda z: z @ WEIGHT,
        }
    return va.from_decoder(
        **functions, latent_dim=LATENT, encoder_output=encoder_output, framework=framework, **fields
    )


@pytest.mark.parametrize("framework", ["jax", "numpy", "torch"])
@pytest.mark.parametrize("encoder_output", SPREADS)
def test_every_parameterisation_gives_loc_and_the_standard_deviation(framework, encoder_output):
    model = build(framework, encoder_output)
    loc, scale = eqx.filter_jit(model.encode)(X)
    np.testing.assert_allclose(loc, X @ ENCODER, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(scale, np.broadcast_to(SIGMA, (5, LATENT)), rtol=1e-5)
    assert model.differentiable == (framework == "jax")


def densities():
    """Likelihood name → data and log p(x|z) per element by scipy, from the decoder's output."""
    out = Z.astype(np.float64) @ WEIGHT
    prob = 1 / (1 + np.exp(-out))
    binary = (X > 0).astype(np.float32)
    unit = (1 / (1 + np.exp(-X))).astype(np.float32)
    one_hot = np.eye(DIMS, dtype=np.float32)[[0, 2, 1, 1, 0]]
    # C(λ) = 2 atanh(1 − 2λ) / (1 − 2λ)
    log_c = np.log(2 * np.arctanh(1 - 2 * prob) / (1 - 2 * prob))
    return {
        "bernoulli_logits": (binary, stats.bernoulli.logpmf(binary, prob)),
        "continuous_bernoulli_logits": (unit, unit * np.log(prob) + (1 - unit) * np.log1p(-prob) + log_c),
        "gaussian": (X, stats.norm.logpdf(X, out, 0.5)),
        "laplace": (X, stats.laplace.logpdf(X, out, 0.5)),
        "categorical_logits": (one_hot, one_hot * (out - np.log(np.exp(out).sum(-1, keepdims=True)))),
    }


@pytest.mark.parametrize("framework", ["jax", "numpy", "torch"])
@pytest.mark.parametrize("likelihood", densities())
def test_log_likelihood_against_scipy(framework, likelihood):
    x, expected = densities()[likelihood]
    scale = 0.5 if likelihood in ("gaussian", "laplace") else None
    model = build(framework, likelihood=likelihood, likelihood_scale=scale)
    value = eqx.filter_jit(model.log_likelihood)(x, Z)
    assert value.shape == (4, 5)
    np.testing.assert_allclose(value, expected.sum(-1), rtol=2e-5, atol=2e-5)


def test_probabilities_and_logits_agree():
    x = (X > 0).astype(np.float32)
    probs = va.from_decoder(
        encode=lambda x: (x[:, :2], np.ones((len(x), 2))),
        decode=lambda z: 1 / (1 + np.exp(-z @ WEIGHT)),
        latent_dim=2,
        likelihood="bernoulli_probs",
        framework="numpy",
    )
    logits = build(likelihood="bernoulli_logits", likelihood_scale=None)
    np.testing.assert_allclose(probs.log_likelihood(x, Z), logits.log_likelihood(x, Z), rtol=1e-4)


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_estimators_run_on_functions_outside_jax_and_agree_with_jax(framework):
    """The same draws, so only float32 rounding differs."""
    inside, outside = build("jax"), build(framework)
    results = [
        va.log_evidence(model, X, rng_key=3, method="iw", num_samples=400) for model in (inside, outside)
    ]
    np.testing.assert_allclose(results[0].value, results[1].value, rtol=1e-4, atol=1e-3)
    one, two = (va.rate_distortion(model, X, rng_key=3, num_samples=16) for model in (inside, outside))
    assert one.elbo.value == pytest.approx(two.elbo.value, rel=1e-4)


def test_exact_evidence_of_a_linear_model_given_as_numpy_functions():
    """log N(x; 0, WᵀW + s²I) by scipy; encoder = exact posterior scaled by 1.5, so weights are bounded."""
    cov = WEIGHT.T @ WEIGHT + 0.25 * np.eye(DIMS)
    posterior_cov = np.linalg.inv(np.eye(LATENT) + WEIGHT @ WEIGHT.T / 0.25)
    gain = (posterior_cov @ WEIGHT / 0.25).T
    sigma = 1.5 * np.sqrt(np.diag(posterior_cov))
    model = va.from_decoder(
        encode=lambda x: (x @ gain, np.broadcast_to(sigma, (len(x), LATENT))),
        decode=lambda z: z @ WEIGHT,
        latent_dim=LATENT,
        likelihood="gaussian",
        likelihood_scale=0.5,
        framework="numpy",
    )
    found = va.log_evidence(model, X, method="iw", num_samples=4000)
    exact = stats.multivariate_normal(np.zeros(DIMS), cov).logpdf(X)
    assert np.max(found.se) < 0.1, "the test must be able to see an error of half a nat"
    assert np.all(np.abs(found.value - exact) < 5 * found.se + 1e-3)


def test_pictures_and_convolutional_shapes_pass_through():
    model = va.from_decoder(
        encode=lambda x: (x.reshape(len(x), -1)[:, :2], np.ones((len(x), 2))),
        decode=lambda z: np.repeat(z, 8, axis=1).reshape(-1, 4, 4, 1),
        latent_dim=2,
        likelihood="bernoulli_logits",
        framework="numpy",
    )
    assert model.decode(jnp.ones((3, 7, 2))).shape == (3, 7, 4, 4, 1)
    assert model.log_likelihood(jnp.ones((7, 4, 4, 1)), jnp.ones((3, 7, 2))).shape == (3, 7)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"likelihood": "gausian"}, UnknownNameError, "Did you mean 'gaussian'"),
        ({"encoder_output": "loc_logvar"}, UnknownNameError, "loc_log_var"),
        ({"framework": "pytorch"}, UnknownNameError, "Did you mean 'torch'"),
        ({"likelihood": "gaussian"}, ArgumentError, "needs `likelihood_scale`"),
        ({"likelihood_scale": 0.5}, ArgumentError, "has no scale"),
        ({"likelihood": "gaussian", "likelihood_scale": -1.0}, ArgumentError, "positive"),
        ({"likelihood": "gaussian", "likelihood_scale": math.inf}, ArgumentError, "positive"),
        ({"latent_dim": 0}, ArgumentError, "latent_dim"),
        ({"decode": None}, ArgumentError, "`decode` must be a function"),
        ({"decode": lambda z: z.sum()}, ShapeError, "must map z"),
    ],
)
def test_wrong_arguments_are_named(changes, error, words):
    fields = {
        "encode": lambda x: (x, x),
        "decode": lambda z: z,
        "latent_dim": 2,
        "framework": "numpy",
        **changes,
    }
    with pytest.raises(error, match=words):
        va.from_decoder(**fields)


def test_three_outputs_and_wrong_shapes_are_named_by_the_audit():
    def model(encode, decode=lambda z: z @ WEIGHT, framework="numpy"):
        return va.from_decoder(
            encode=encode, decode=decode, latent_dim=2, likelihood="gaussian", likelihood_scale=1.0,
            framework=framework,
        )  # fmt: skip

    with pytest.raises(ShapeError, match=r"encoder\(x\)\[:2\]"):
        va.audit(model(lambda x: (x[:, :2], x[:, :2], x[:, :2])), X)
    with pytest.raises(ShapeError, match=r"encoder\(x\)\[:2\]"):
        va.audit(model(lambda x: (x[:, :2], x[:, :2], x[:, :2]), framework="jax"), X)
    with pytest.raises(ShapeError, match=r"loc of shape \(6, 2\)"):
        va.audit(model(lambda x: (x, x)), X)
    with pytest.raises(ShapeError, match="one parameter per element of x"):
        va.audit(model(lambda x: (x[:, :2], np.ones((len(x), 2))), decode=lambda z: z), X)


def test_torch_modules_in_training_mode_are_refused():
    torch = torch_or_skip()

    class VAE(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(
                torch.nn.Linear(DIMS, 4), torch.nn.Dropout(), torch.nn.Linear(4, 4)
            )
            self.back = torch.nn.Linear(2, DIMS)

        def encode(self, x):
            return self.net(x).chunk(2, dim=-1)

    module = VAE()
    fields = {
        "latent_dim": 2, "likelihood": "gaussian", "likelihood_scale": 1.0,
        "encoder_output": "loc_log_var", "framework": "torch",
    }  # fmt: skip
    with pytest.raises(ArgumentError, match=r"net.1 .*module.eval"):
        va.from_decoder(encode=module.encode, decode=module.back, **fields)
    module.eval()
    model = va.from_decoder(encode=module.encode, decode=module.back, **fields)
    loc, scale = model.encode(X)
    with torch.no_grad():
        expected = module.net(torch.tensor(X)).numpy()
    np.testing.assert_allclose(loc, expected[:, :2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scale, np.exp(0.5 * expected[:, 2:]), rtol=1e-5)
    assert all(p.grad is None for p in module.parameters())


def test_keras_functions_and_layers_run_in_inference_mode():
    if importlib.util.find_spec("keras") is None:  # importing it here would choose its backend
        pytest.skip("Keras is not a dependency; its adapter is tested where it is")
    torch_or_skip()
    code = (
        "import os; os.environ['KERAS_BACKEND'] = 'torch'\n"
        "import keras, numpy as np, jax.numpy as jnp, vaeaudit as va\n"
        "decode = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.5), keras.layers.Dense(3)])\n"
        "encode = lambda x: (x[:, :2], keras.ops.zeros_like(x[:, :2]))\n"
        "m = va.from_decoder(encode=encode, decode=decode, latent_dim=2, encoder_output='loc_log_var',\n"
        "    likelihood='gaussian', likelihood_scale=1.0, framework='keras')\n"
        "z = np.random.default_rng(0).normal(size=(5, 2)).astype('float32')\n"
        "w, b = (keras.ops.convert_to_numpy(v) for v in decode.layers[-1].weights)\n"
        "assert np.allclose(m.decode(jnp.asarray(z)), z @ w + b, atol=1e-5)\n"
        "loc, scale = m.encode(jnp.ones((4, 3)))\n"
        "assert np.all(np.asarray(scale) == 1.0) and loc.shape == (4, 2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_large_arrays_do_not_block_on_one_core():
    """Callbacks with arrays of 60 MB on one core: a deadlock here would run into the time limit."""
    code = (
        "import os\nif hasattr(os, 'sched_setaffinity'):\n"
        "    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "import numpy as np, jax, jax.numpy as jnp, vaeaudit as va\n"
        "w = np.ones((4, 784), np.float32)\n"
        "m = va.from_decoder(encode=lambda x: (x[:, :4], np.ones((len(x), 4))), decode=lambda z: z @ w,\n"
        "    latent_dim=4, framework='numpy')\n"
        "f = jax.jit(lambda x, z: m.log_likelihood(x, z).sum())\n"
        "print([float(f(jnp.ones((2000, 784)), jnp.full((10, 2000, 4), float(i)))) for i in range(3)][0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(-20_000 * 784 * math.log(2), rel=1e-3)
