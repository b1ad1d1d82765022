"""Parts of the training benchmark: the ceiling of matrix products, and many models on one accelerator."""

from __future__ import annotations

import functools
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from timing import table, take_turns
from torch_vae import Net, flops_per_step

TARGETS = {  # × faster than the best threading of a contender
    "64-64-64-8": {"tuned": 6.0, "one by one": 1.0},
    "784-200-200-50": {"tuned": 1.2, "pythae": 2.5, "one by one": 1.0},
    "784-400-20": {"tuned": 1.2, "pythae": 2.5, "one by one": 1.0},
}


def _chains(net: Net) -> list[tuple[int, ...]]:
    widths = (*net.hidden, 2 * net.latent)
    return [(net.event, *widths), (net.latent, *reversed(net.hidden), net.event)]


def _product_step(net: Net, precision: str | None = None) -> Callable:
    """Every matrix product of a training step, chained so that none can be left out or hoisted."""
    import jax
    import jax.numpy as jnp

    dot = functools.partial(jnp.matmul, precision=precision)

    def chain(weights, x, back_to_input):
        kept = [x]
        for w in weights:
            kept.append(dot(kept[-1], w))
        g, gradients = kept[-1], []
        for i in reversed(range(len(weights))):
            gradients.append(dot(kept[i].T, g))
            if i or back_to_input:
                g = dot(g, weights[i].T)
        return g, gradients

    def step(carry, weights, inputs):
        (wiggle_a, wiggle_b, _), (enc, dec), (x, z) = carry, weights, inputs
        a, gradient_a = chain(enc, x + wiggle_a, back_to_input=False)
        b, gradient_b = chain(dec, z + wiggle_b, back_to_input=True)
        # the next inputs depend on this result, by nothing that can be seen
        return (jnp.sum(a[:, :1]) * 1e-30, jnp.sum(b[:, :1]) * 1e-30, (gradient_a, gradient_b))

    def run(weights, inputs, steps):
        gradients = tuple([jnp.zeros_like(w) for w in reversed(part)] for part in weights)
        start = (jnp.float32(0), jnp.float32(0), gradients)
        return jax.lax.fori_loop(0, steps, lambda i, carry: step(carry, weights, inputs), start)

    return run


def _operands(net: Net, models: int | None = None):
    rng = np.random.default_rng(0)
    lead = () if models is None else (models,)

    def normal(*shape):
        return rng.normal(size=(*lead, *shape)).astype(np.float32) / np.sqrt(shape[0])

    weights = tuple([normal(a, b) for a, b in itertools.pairwise(chain)] for chain in _chains(net))
    return weights, (normal(net.batch, net.event), normal(net.batch, net.latent))


def products(net: Net, seconds: float) -> tuple[Callable[[], None], float]:
    """A contender for `take_turns`: the products of a step on every device at once, and steps per call."""
    import jax

    run = jax.jit(_product_step(net), static_argnums=2)
    devices = jax.devices()
    placed = [jax.device_put(_operands(net), device) for device in devices]
    steps = max(4, round(seconds * 60e9 / flops_per_step(net)))

    def call() -> None:
        jax.block_until_ready([run(*operands, steps) for operands in placed])

    return call, float(steps * len(devices))


def accelerator(quick: bool, rounds: int) -> dict:
    """Many models at once against one on this process's device; products alone; agreement with a CPU."""
    import jax

    import vaeaudit as va

    net = Net(64, (16, 16), 4) if quick else Net(784, (200, 200), 50)
    models, epochs, size = (4, 2, 512) if quick else (64, 4, 12_800)
    data = (np.random.default_rng(0).random((size, net.event)) < 0.3).astype(np.float32)
    build = functools.partial(va.mlp_vae, event_shape=(net.event,), latent_dim=net.latent, hidden=net.hidden)
    steps = size // net.batch * epochs

    def sweep(count: int, mode: str) -> None:
        va.sweep(build, ["elbo"], data, seeds=range(count), epochs=epochs, mode=mode, num_devices=1)

    many = jax.jit(jax.vmap(_product_step(net), in_axes=(0, 0, None)), static_argnums=2)
    fast = jax.jit(jax.vmap(_product_step(net, "highest"), in_axes=(0, 0, None)), static_argnums=2)
    operands = jax.device_put(_operands(net, models))

    def alone(program: Callable) -> None:
        jax.block_until_ready(program(*operands, 50))

    contenders = {
        f"{models} models, vmap": (functools.partial(sweep, models, "vmap"), models * steps),
        f"{models} models, map": (functools.partial(sweep, models, "map"), models * steps),
        "1 model": (functools.partial(sweep, 1, "vmap"), steps),
        "products alone, default precision": (functools.partial(alone, many), 50 * models),
        "products alone, float32": (functools.partial(alone, fast), 50 * models),
    }
    timings = take_turns(contenders, rounds)
    flops = flops_per_step(net)
    rows = [
        [name, f"{t.rate:,.0f}", f"{t.rate * flops / 1e9:,.0f}", f"{np.median(t.seconds):.3f}"]
        for name, t in timings.items()
    ]
    print(f"\n{jax.devices()[0].device_kind}: {'-'.join(map(str, (net.event, *net.hidden, net.latent)))}")
    print(table(["contender", "model-steps / s", "GFLOP/s", "seconds per call"], rows))
    best = max((f"{models} models, {mode}" for mode in ("vmap", "map")), key=lambda n: timings[n].rate)
    cost = float(np.median(timings[best].seconds / timings["1 model"].seconds))
    share = {
        name: timings[best].rate / timings[f"products alone, {name}"].rate
        for name in ("default precision", "float32")
    }
    print(f"{best} cost {cost:.2f} × one model (target: at most 4)")
    print(
        f"share of the ceiling: {share['default precision']:.0%} (target 30 %), float32 {share['float32']:.0%}"
    )
    agreement = _agreement(quick)
    return {
        "models": models,
        "cost_of_many": cost,
        "share_of_ceiling": share,
        "gflops": {name: t.rate * flops / 1e9 for name, t in timings.items()},
        "seconds": {name: t.seconds.tolist() for name, t in timings.items()},
        "agreement": agreement,
    }


QUANTITIES = """
import functools, json, sys
import vaeaudit as va
quick = sys.argv[1] == "quick"
data = va.load_data("digits")
build = functools.partial(va.mlp_vae, event_shape=(8, 8), latent_dim=4, hidden=(64,))
model = va.sweep(build, ["elbo"], data, seeds=[0], epochs=2 if quick else 30, num_devices=1).models[0]
x = data.test[:32 if quick else 200]
rd = va.rate_distortion(model, x, rng_key=1, num_samples=16)
agg = va.aggregate_posterior(model, x, rng_key=1)
found = {name: getattr(rd, name) for name in ("elbo", "rate", "distortion")}
found["log_evidence"] = va.log_evidence(model, x, rng_key=1, method="iw", num_samples=200).mean
rows = {name: [e.value, e.se] for name, e in found.items()}
for name in ("mutual_information", "marginal_kl", "total_correlation", "dimwise_kl"):
    bracket = getattr(agg, name)
    for end in ("lower", "upper"):
        e = getattr(bracket, end)
        rows[f"{name}, {end}"] = [e.value, e.se]
print("RESULT" + json.dumps(rows))
"""


def _agreement(quick: bool) -> dict[str, dict[str, float]]:
    """Each quantity of one model trained and measured on this device, and on a CPU, in fresh processes."""
    found = {}
    for place, extra in (("device", {}), ("cpu", {"JAX_PLATFORMS": "cpu"})):
        done = subprocess.run(
            [sys.executable, "-c", QUANTITIES, "quick" if quick else "whole"],
            env={**os.environ, **extra, "PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found[place] = json.loads(done.stdout.split("RESULT")[1])
    rows, record = [], {}
    for name, (value, se) in found["device"].items():
        other, other_se = found["cpu"][name]
        spread = float(np.nan_to_num(np.hypot(se, other_se)))  # NaN where an estimate has no interval
        agrees = abs(value - other) <= 1.96 * spread + 1e-5 * abs(other)
        record[name] = {"device": value, "cpu": other, "se": spread, "agrees": bool(agrees)}
        rows.append([name, f"{value:.4f}", f"{other:.4f}", f"{spread:.4f}", "yes" if agrees else "no"])
    print(table(["quantity (nats)", "device", "CPU", "se of the difference", "agree"], rows))
    return record
