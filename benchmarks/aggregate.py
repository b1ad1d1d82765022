"""Speed, memory and rounding of log q_N(z): our kernel beside the forms in use, taking turns in one run.

    python benchmarks/aggregate.py [--num-data 60000] [--num-points 10000] [--latents 20 50] [--rounds 3]

Every form is called once unmeasured, then once per round in alternating order; ratios are taken round by round.
The broadcast forms cost the same for every point: they run on ``--slow-points`` points and are scaled, as the
table says. On an accelerator the share of the card's matrix-product ceiling is printed too.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from aggregate_forms import exact, jax_broadcast, problem, torch_matrix, tuned_torch_product
from timing import RESULTS, machine, ratio, table, take_turns, write

from vaeaudit.estimators.aggregate_posterior import aggregate_posterior
from vaeaudit.estimators.mixture_density import log_mixture_density

OURS = "ours (auto)"
TARGETS = {"JAX broadcast": 5.0, "PyTorch, disentangling-vae's form": 25.0, "PyTorch, pythae's form": 25.0}
SWEEPS = {  # varied: (fixed, values)
    "N": ({"M": 4_000, "J": 20}, (15_000, 30_000, 60_000)),
    "M": ({"N": 30_000, "J": 20}, (2_500, 5_000, 10_000)),
    "J": ({"N": 30_000, "M": 4_000}, (5, 10, 20, 40)),
}


def forms_table(num_data: int, num_points: int, latent: int, rounds: int, slow: int) -> list[dict[str, Any]]:
    """All forms on one problem."""
    arrays = problem(num_data, num_points, latent)
    few = tuple(a[:slow] if k == 0 else a for k, a in enumerate(arrays))
    tuned, shape = tuned_torch_product(latent, seconds=6.0)
    ours = {f"ours, {m}": partial(_ours, m) for m in ("product", "float64")}
    fast: dict[str, Callable[..., Any]] = {
        OURS: partial(_ours, "auto"),
        **ours,
        "PyTorch product, tuned": tuned,
    }
    slow_forms: dict[str, Callable[..., Any]] = {
        "JAX broadcast": jax_broadcast,
        "PyTorch, disentangling-vae's form": partial(torch_matrix, "disentangling-vae"),
        "PyTorch, pythae's form": partial(torch_matrix, "pythae"),
    }
    contenders = {name: (_quiet(partial(f, *arrays)), float(num_points)) for name, f in fast.items()}
    contenders |= {name: (_quiet(partial(f, *few)), float(slow)) for name, f in slow_forms.items()}
    timings = take_turns(contenders, rounds)
    check = tuple(a[: min(200, slow)] if k == 0 else a for k, a in enumerate(arrays))
    truth = exact(*check)
    rows = []
    for name, function in {**fast, **slow_forms}.items():
        middle, low, high = ratio(timings[OURS], timings[name])
        cpu = timings[name].cpu_milliseconds / timings[OURS].cpu_milliseconds
        rows.append(
            {
                "form": name + (f" ({shape})" if function is tuned else ""),
                "latent": latent,
                "points_timed": int(contenders[name][1]),
                "seconds": num_points / timings[name].rate,
                "ours_is_times_faster": middle,
                "lowest": low,
                "highest": high,
                "cpu_ratio": cpu,
                "max_error_nats": float(np.abs(function(*check) - truth).max()),
            }
        )
    return rows


def _ours(method: Any, z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return log_mixture_density(z, loc, scale, method=method).log_q


def _quiet(function: Callable[[], Any]) -> Callable[[], None]:
    def call() -> None:
        function()

    return call


def marginals_table(num_data: int, num_points: int, latent: int) -> list[dict[str, Any]]:
    """The one-dimensional mixtures: all latents by the series, one by all pairs and scaled."""
    z, loc, scale = problem(num_data, num_points, latent)
    one = np.s_[:, :1]
    rows = []
    for name, count, call in (
        ("series (auto)", latent, partial(_by_latent, z, loc, scale)),
        ("all pairs, direct float32", 1, partial(_ours, "direct", z[one], loc[one], scale[one])),
    ):
        call()
        start = time.perf_counter()
        call()
        rows.append(
            {
                "form": name,
                "latent": latent,
                "latents_timed": count,
                "seconds": (time.perf_counter() - start) * latent / count,
            }
        )
    return rows


def _by_latent(z: np.ndarray, loc: np.ndarray, scale: np.ndarray) -> Any:
    from vaeaudit.estimators.mixture_density_marginals import log_sums_by_latent
    from vaeaudit.estimators.mixture_kernel_evaluate import Problem

    nobody = np.full(len(z), -1, np.int32)
    arrays = (a.astype(np.float64) for a in (z, loc, scale))
    return log_sums_by_latent(Problem(*arrays, nobody), "direct", "series")


def largest() -> dict[str, Any]:
    """N = M = 60,000 at 50 latents: the densities with all marginals, then the whole `aggregate_posterior`."""
    z, loc, scale = problem(60_000, 60_000, 50)
    own = np.arange(len(z))
    noise = np.random.default_rng(1).normal(size=z.shape)
    z = loc + scale * noise
    before = _peak(reset=True)
    start = time.perf_counter()
    found = log_mixture_density(z, loc, scale, own=own, noise=noise, marginals=True)
    seconds, peak = time.perf_counter() - start, _peak() - before
    start = time.perf_counter()
    aggregate_posterior((loc, scale))
    return {
        "seconds": seconds,
        "aggregate_posterior_seconds": time.perf_counter() - start,
        "peak_mib_above_start": peak,
        "method": found.method,
        "max_error_nats": found.max_error,
        "max_error_marginals_nats": found.max_error_marginals,
    }


def _peak(reset: bool = False) -> float:
    """Peak resident memory in MiB since the last reset; NaN where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    return float(fields["VmHWM"].split()[0]) / 1024


def cost_table() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Seconds and memory over N, M and J, and fitted exponents beside those of the counted operations."""
    points, fits = [], []
    for varied, (fixed, values) in SWEEPS.items():
        rows = []
        for value in values:
            at = {**fixed, varied: value}
            arrays = problem(at["N"], at["M"], at["J"])
            log_mixture_density(*arrays)
            before = _peak(reset=True)
            seconds = []
            for _ in range(3):
                start = time.perf_counter()
                log_mixture_density(*arrays)
                seconds.append(time.perf_counter() - start)
            inputs = sum(a.nbytes for a in arrays) / 2**20
            rows.append(
                {
                    "varied": varied,
                    **at,
                    "seconds": min(seconds),
                    "peak_mib_above_start": _peak() - before,
                    "inputs_mib": inputs,
                    "all_pairs_mib": 4 * at["N"] * at["M"] * at["J"] / 2**20,
                }
            )
        work = [r["N"] * r["M"] * (r["J"] + 2.0) for r in rows]  # J squares, one exponential, one sum
        x = np.log([r[varied] for r in rows])
        fits.append(
            {
                "varied": varied,
                "exponent": float(np.polyfit(x, np.log([r["seconds"] for r in rows]), 1)[0]),
                "expected": float(np.polyfit(x, np.log(work), 1)[0]),
                "memory_per_input": max(r["peak_mib_above_start"] / r["inputs_mib"] for r in rows),
            }
        )
        points += rows
    return points, fits


def ceiling(arrays: tuple[np.ndarray, ...], seconds: float) -> dict[str, float]:
    """Share of this device's float32 matrix-product rate that the product form reaches."""
    side = 8192
    a = jax.random.normal(jax.random.key(0), (side, side))
    product = jax.jit(lambda u: jnp.matmul(u, u, precision=jax.lax.Precision.HIGHEST))
    product(a).block_until_ready()
    start = time.perf_counter()
    for _ in range(5):
        product(a).block_until_ready()
    best = 5 * 2 * side**3 / (time.perf_counter() - start)
    z, loc, _ = arrays
    reached = 2.0 * len(z) * len(loc) * 2 * loc.shape[1] / seconds
    return {"product_tflops": best / 1e12, "reached_tflops": reached / 1e12, "share": reached / best}


def text(record: dict[str, Any]) -> str:
    """All tables as text."""
    where = record["machine"]
    lines = [
        f"{where['cpu']}, {where['cores']} cores, load {where['load_at_start']} at the start, jax {where['jax']}",
        "",
        f"log q_N(z), N = {record['num_data']:,}, M = {record['num_points']:,}; times faster: median over rounds",
        "",
    ]
    shown = [
        [
            str(r["latent"]), r["form"], f"{r['points_timed']:,}", f"{r['seconds']:.2f}",
            f"{r['ours_is_times_faster']:.2f} ({r['lowest']:.2f} to {r['highest']:.2f})", f"{r['cpu_ratio']:.2f}",
            f"{r['max_error_nats']:.1e}",
        ]
        for r in record["forms"]
    ]  # fmt: skip
    lines.append(
        table(
            ["J", "form", "points timed", "seconds", "ours is × faster", "in CPU time", "max error (nats)"],
            shown,
        )
    )
    lines += ["", "One-dimensional mixtures of every latent", ""]
    lines.append(
        table(
            ["J", "form", "latents timed", "seconds for all"],
            [
                [str(r["latent"]), r["form"], str(r["latents_timed"]), f"{r['seconds']:.2f}"]
                for r in record["marginals"]
            ],
        )
    )
    if record["largest"]:
        r = record["largest"]
        lines += [
            "",
            f"N = M = 60,000, 50 latents, marginals included: {r['seconds']:.1f} s, {r['peak_mib_above_start']:.0f} MiB "
            f"above start, {r['method']}, rounding at most {r['max_error_nats']:.1e} nats, over marginals "
            f"{r['max_error_marginals_nats']:.1e}; the whole aggregate_posterior: "
            f"{r['aggregate_posterior_seconds']:.1f} s",
        ]
    lines += ["", "Cost of the default form", ""]
    lines.append(
        table(
            ["varied", "N", "M", "J", "seconds", "peak MiB above start", "inputs MiB", "all pairs MiB"],
            [
                [r["varied"], f"{r['N']:,}", f"{r['M']:,}", str(r["J"]), f"{r['seconds']:.3f}",
                 f"{r['peak_mib_above_start']:.0f}", f"{r['inputs_mib']:.1f}", f"{r['all_pairs_mib']:,.0f}"]
                for r in record["costs"]
            ],
        )
    )  # fmt: skip
    lines += ["", "Exponents, fitted and of the counted operations N · M · (J + 2)", ""]
    lines.append(
        table(
            ["over", "time", "expected"],
            [[r["varied"], f"{r['exponent']:.2f}", f"{r['expected']:.2f}"] for r in record["exponents"]],
        )
    )
    if record["ceiling"]:
        c = record["ceiling"]
        lines += [
            "",
            f"product form: {c['reached_tflops']:.2f} of {c['product_tflops']:.2f} TFLOP/s that a plain float32 "
            f"product reaches: {c['share']:.0%}",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print the tables, write JSON and text."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-data", type=int, default=60_000)
    parser.add_argument("--num-points", type=int, default=10_000)
    parser.add_argument("--latents", type=int, nargs="+", default=[20, 50])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-points", type=int, default=64)
    parser.add_argument("--no-largest", action="store_true", help="leave out N = M = 60,000 at 50 latents")
    options = parser.parse_args()
    record: dict[str, Any] = {
        "machine": machine(),
        "num_data": options.num_data,
        "num_points": options.num_points,
        "targets": TARGETS | {"PyTorch product, tuned": 1 / 1.3},
        "forms": [],
        "marginals": [],
        "ceiling": None,
    }
    for latent in options.latents:
        size = (options.num_data, options.num_points, latent)
        record["forms"] += forms_table(*size, options.rounds, options.slow_points)
        record["marginals"] += marginals_table(*size)
    record["largest"] = None if options.no_largest else largest()
    record["costs"], record["exponents"] = cost_table()
    if jax.default_backend() != "cpu":
        best = min(r["seconds"] for r in record["forms"] if r["form"] == "ours, product")
        record["ceiling"] = ceiling(problem(options.num_data, options.num_points, options.latents[0]), best)
    written = text(record)
    print(written)
    write("aggregate", record)
    (RESULTS / "aggregate.txt").write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
