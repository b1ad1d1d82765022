"""Importance samples per second and leapfrog steps per second, in pairs with other codes, in one process.

    python benchmarks/evidence.py [--rounds 5] [--quick] [--pythae FOLDER]

Every round runs each code on the same decoder, PyTorch's with one thread and with all (the faster counts);
the table gives the median of the per-round ratios. pythae is imported from the environment or from
``--pythae`` (a folder made with ``pip install --no-deps --target FOLDER pythae``); without it its rows are left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blackjax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
from timing import table

import vaeaudit as va
from vaeaudit.estimators import evidence, hmc, importance

SIZES = {  # event shape, hidden width, latents, data, K
    "mnist": ((28, 28), 400, 20, 8, 5000),
    "digits": ((8, 8), 64, 8, 64, 5000),
}


class TorchVAE(torch.nn.Module):
    """The same encoder and decoder (tanh, logits) with the same weights."""

    def __init__(self, model: va.NeuralVAE) -> None:
        super().__init__()
        self.event = int(np.prod(model.decoder.event_shape))

        def copy(layer: Any) -> torch.nn.Linear:
            out = torch.nn.Linear(*reversed(layer.weight.shape))
            with torch.no_grad():
                out.weight.copy_(torch.from_numpy(np.array(layer.weight)))
                out.bias.copy_(torch.from_numpy(np.array(layer.bias)))
            return out

        self.trunk, self.loc, self.log_scale = (
            copy(model.encoder.trunk[0]),
            copy(model.encoder.loc_head),
            copy(model.encoder.log_scale_head),
        )
        self.first, self.second = (copy(layer) for layer in model.decoder.layers)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.tanh(self.trunk(x))
        return self.loc(h), self.log_scale(h)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(z)))


def torch_tuned(net: TorchVAE, x: torch.Tensor, num_samples: int, rows: int) -> torch.Tensor:
    """A PyTorch loop as a careful user writes it: encoder once, large batches, no autograd, logits."""
    with torch.inference_mode():
        loc, log_scale = net.encode(x)
        scale = log_scale.exp()
        chunk = max(rows // len(x), 1)
        parts = []
        for start in range(0, num_samples, chunk):
            count = min(chunk, num_samples - start)
            noise = torch.randn(count, *loc.shape)
            z = loc + scale * noise
            logits = net.decode(z.view(-1, z.shape[-1])).view(count, len(x), -1)
            log_p = torch.einsum("sbd,bd->sb", logits, x) - torch.nn.functional.softplus(logits).sum(-1)
            log_p += (-0.5 * z * z + 0.5 * noise * noise + log_scale).sum(-1)
            parts.append(log_p)
        return torch.logsumexp(torch.cat(parts), 0) - math.log(num_samples)


def pythae_model(net: TorchVAE, event: int, latent: int) -> Any:
    """Pythae's own VAE around the same weights; None where pythae is not installed."""
    try:
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
    except ImportError:
        return None

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> Any:
            loc, log_scale = self.net.encode(x.reshape(len(x), -1))
            return ModelOutput(embedding=loc, log_covariance=2 * log_scale)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, z: torch.Tensor) -> Any:
            return ModelOutput(reconstruction=torch.sigmoid(self.net.decode(z)))

    config = VAEConfig(input_dim=(1, event), latent_dim=latent, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(), decoder=Decoder()).eval()


def ceiling(rows: int, widths: tuple[int, ...], repeats: int) -> float:
    """Rows per second of the decoder's matrix products alone: the faster of JAX and PyTorch."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=pair).astype(np.float32) for pair in itertools.pairwise(widths)]
    inputs = [rng.normal(size=(rows, w)).astype(np.float32) for w in widths[:-1]]

    @jax.jit
    def products(arrays: list[jax.Array], ws: list[jax.Array]) -> list[jax.Array]:
        return [a @ w for a, w in zip(arrays, ws, strict=True)]

    a, w = [jnp.asarray(i) for i in inputs], [jnp.asarray(i) for i in weights]
    jax.block_until_ready(products(a, w))
    start = time.perf_counter()
    for _ in range(repeats):
        jax.block_until_ready(products(a, w))
    by_jax = repeats * rows / (time.perf_counter() - start)
    ta, tw = [torch.from_numpy(i) for i in inputs], [torch.from_numpy(i) for i in weights]
    outs = [torch.empty(rows, w) for w in widths[1:]]
    start = time.perf_counter()
    for _ in range(repeats):
        for i, j, out in zip(ta, tw, outs, strict=True):
            torch.mm(i, j, out=out)
    return max(by_jax, repeats * rows / (time.perf_counter() - start))


def torch_leapfrog(net: TorchVAE, x: torch.Tensor, chains: int, steps: int) -> None:
    """Leapfrog steps with autograd, as AIS codes in PyTorch do them: one value and gradient per step."""
    with torch.no_grad():
        loc, log_scale = net.encode(x)
        scale = log_scale.exp()
    u = torch.randn(chains, *loc.shape)
    p = torch.randn_like(u)
    for _ in range(steps):
        u = (u + 0.05 * p).detach().requires_grad_(True)
        z = loc + scale * u
        logits = net.decode(z.view(-1, z.shape[-1])).view(chains, len(x), -1)
        energy = (torch.einsum("sbd,bd->sb", logits, x) - torch.nn.functional.softplus(logits).sum(-1)).sum()
        energy = energy - 0.5 * (z * z).sum()
        (gradient,) = torch.autograd.grad(energy, u)
        p = p + 0.05 * (0.5 * gradient - 0.5 * u.detach())


@eqx.filter_jit
def blackjax_anneal(
    model: Any,
    x: jax.Array,
    loc: jax.Array,
    scale: jax.Array,
    u: jax.Array,
    betas: jax.Array,
    num_leapfrog: int,
) -> jax.Array:
    """The same walk with blackjax's HMC kernel, one chain and datum per call, batched by vmap."""
    kernel = blackjax.hmc.build_kernel()
    mass = jnp.ones(loc.shape[-1])

    def one(
        key: jax.Array, u: jax.Array, beta: jax.Array, datum: jax.Array, m: jax.Array, s: jax.Array
    ) -> jax.Array:
        def log_density(v: jax.Array) -> jax.Array:
            z = (m + s * v)[None, None]
            joint = model.log_likelihood(datum[None], z) + model.log_prior(z)
            return beta * joint[0, 0] - 0.5 * (1 - beta) * jnp.sum(v * v)

        state = blackjax.hmc.init(u, log_density)
        return kernel(key, state, log_density, 0.05, mass, num_leapfrog)[0].position

    over_data = jax.vmap(one, in_axes=(0, 0, None, 0, 0, 0))
    over_chains = jax.vmap(over_data, in_axes=(0, 0, None, None, None, None))

    def move(u: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        beta, key = inputs
        return over_chains(jax.random.split(key, u.shape[:2]), u, beta, x, loc, scale), None

    keys = jax.random.split(jax.random.key(2), betas.shape[0])
    return jax.lax.scan(move, u, (betas, keys))[0]


def seconds(run: Callable[[], Any]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def one_size(name: str, rounds: int, quick: bool) -> list[dict[str, Any]]:
    """All codes in turn, ``rounds`` times; samples or steps per second."""
    event, hidden, latent, num_data, num_samples = SIZES[name]
    if quick:
        num_samples //= 5
    pixels = math.prod(event)
    model = va.mlp_vae(0, event_shape=event, latent_dim=latent, hidden=(hidden,))
    x = (np.random.default_rng(0).random((num_data, *event)) < 0.2).astype(np.float32)
    net = TorchVAE(model).eval()
    xt = torch.from_numpy(x.reshape(num_data, -1))
    other = pythae_model(net, pixels, latent)
    xj = jnp.asarray(x)
    draws = num_data * num_samples
    chains, leapfrog, temperatures = 16, 10, 6 if quick else 20
    fewer = num_data if name == "mnist" else num_data // 8  # data for the slow loop
    path_loc, path_scale = evidence.encoder_output(model, xj)
    path = hmc.Path(model, xj, path_loc, path_scale)
    betas = jnp.broadcast_to(jnp.linspace(0, 1, temperatures + 1)[:, None], (temperatures + 1, num_data))
    state = hmc.start_chains(path, jax.random.key(0), chains)
    step_count = chains * num_data * leapfrog * (temperatures - 1)

    def ours() -> None:
        importance.stream_log_evidence(
            model, xj, jax.random.key(1), evidence.PROPOSALS["encoder"], num_samples, method="iw",
            pilot_k=np.zeros(num_data), batch_size=num_data,
        )  # fmt: skip

    def pythae() -> None:
        other.get_nll(xt[:fewer].reshape(fewer, 1, pixels), num_samples, 100)

    def ais() -> None:
        jax.block_until_ready(
            hmc.anneal(path, state, jax.random.key(1), betas, 0.05 * jnp.ones_like(betas), leapfrog)[0]
        )

    def by_blackjax() -> None:
        jax.block_until_ready(
            blackjax_anneal(model, xj, path_loc, path_scale, state.u, betas[1:-1, 0], leapfrog)
        )

    tuned_rows = 4096 if name == "mnist" else 16_384
    runs: dict[str, tuple[Callable[[], Any], float]] = {
        "vaeaudit IW": (ours, draws),
        **({} if other is None else {"pythae get_nll": (pythae, fewer * num_samples)}),
        "PyTorch IW, tuned": (lambda: torch_tuned(net, xt, num_samples, tuned_rows), draws),
        "vaeaudit AIS": (ais, step_count),
        "blackjax HMC": (by_blackjax, step_count),
        "PyTorch leapfrog": (
            lambda: torch_leapfrog(net, xt, chains, leapfrog * 4),
            chains * num_data * leapfrog * 4,
        ),
    }
    for run, _ in runs.values():
        run()  # compile, warm up
    measured: list[dict[str, Any]] = []
    for number in range(rounds):
        row: dict[str, Any] = {"size": name, "round": number}
        for label, (run, work) in runs.items():
            row[label] = 0.0
            for threads in (1, os.cpu_count() or 1) if label in IN_TORCH else (0,):
                if threads:
                    torch.set_num_threads(threads)
                row[label] = max(row[label], work / seconds(run))
        rows = importance.chunk_size(xj) * num_data
        repeats = max(1, int(draws / rows))
        row["matrix products"] = ceiling(min(rows, draws), (latent, hidden, pixels), repeats)
        measured.append(row)
    return measured


IN_TORCH = ("pythae get_nll", "PyTorch IW, tuned", "PyTorch leapfrog")  # best of one thread and all
RATIOS = (  # name, numerator, denominator, target at mnist and digits size
    ("IW / pythae get_nll", "vaeaudit IW", "pythae get_nll", (4.0, 10.0)),
    ("IW / tuned PyTorch", "vaeaudit IW", "PyTorch IW, tuned", (1.1, 1.1)),
    ("IW / matrix products", "vaeaudit IW", "matrix products", (0.7, None)),
    ("AIS / blackjax HMC", "vaeaudit AIS", "blackjax HMC", (None, None)),
    ("AIS / PyTorch leapfrog", "vaeaudit AIS", "PyTorch leapfrog", (1.3, 2.5)),
)


def summary(record: dict[str, Any]) -> str:
    """The ratios of a record as text."""
    rows = []
    for r in record["ratios"]:
        goal = "–" if r["target"] is None else f"{r['target']:g}"
        spread = f"{r['lowest']:.2f} to {r['highest']:.2f}"
        rates = f"{r['rate']:,.0f} against {r['other_rate']:,.0f}"
        rows.append([r["ratio"], r["size"], f"{r['median']:.2f}", spread, goal, rates])
    where = (
        f"{record['cores']} cores, load {record['load'][0]:.1f}, jax {record['versions']['jax']}, "
        f"torch {record['versions']['torch']}"
    )
    header = ["ratio", "size", "median", "over rounds", "target", "per second"]
    return f"{where}\n\n{table(header, rows)}"


def main() -> None:
    """Measure, print the table, write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pythae", default="", help="folder with pythae, if it is not installed")
    parser.add_argument("--output", default=str(Path(__file__).parent / "results" / "evidence.json"))
    args = parser.parse_args()
    if args.pythae:
        sys.path.append(args.pythae)
    rows = [row for name in SIZES for row in one_size(name, args.rounds, args.quick)]
    record: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/evidence.py", *sys.argv[1:]]),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "versions": {"jax": jax.__version__, "torch": torch.__version__},
        "device": str(jax.devices()[0]),
        "rounds": rows,
        "ratios": [],
    }
    for label, top, bottom, targets in RATIOS:
        for name, target in zip(SIZES, targets, strict=True):
            mine = [r for r in rows if r["size"] == name and bottom in r]
            if not mine:
                continue
            ratio = [r[top] / r[bottom] for r in mine]
            entry = {
                "ratio": label, "size": name, "median": float(np.median(ratio)), "lowest": min(ratio),
                "highest": max(ratio), "target": target, "rate": float(np.median([r[top] for r in mine])),
                "other_rate": float(np.median([r[bottom] for r in mine])),
            }  # fmt: skip
            record["ratios"].append(entry)
    shown = summary(record)
    print(shown)
    out = Path(args.output)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=2) + "\n")
    out.with_suffix(".txt").write_text(shown + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
