"""What the estimators cost over N, K, T, M, J and D: time and peak memory, with exponents beside expected ones.

    python benchmarks/scaling.py [--out benchmarks/results] [--only NAME …] [--quick]

Every point is a fresh process: one unmeasured call that compiles, then measured calls until half a second is
spent. Time is CPU seconds of all threads, which other work on the machine disturbs least; wall time stands
beside it. Memory is the process's peak during the measured calls (Linux, `VmHWM` after a reset) above what it
held before the estimator was first called. An expected exponent is the slope of the counted operations over
the same points, by the same least squares. Beside it stands a fit of a fixed cost plus the counted operations: where
that misfits by little, an exponent below the expected one is the fixed cost's, and a remark says what it is.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from timing import RESULTS, machine, table, write

HIDDEN = 64
MODEL = {"N": 16, "K": 2000, "J": 8, "D": 64}  # held fixed while one of them varies
CLOUD = {"N": 8_000, "M": 8_000, "J": 8}
TITLES = {
    "iw": "log_evidence, importance weighting (MLP decoder D-64-J, Bernoulli)",
    "ais": "log_evidence, annealing (16 chains, T temperatures, 4 leapfrog steps)",
    "mixture": "log q_N(z) at M points",
    "aggregate": "aggregate_posterior of (loc, scale), as many draws as data",
}
SWEEPS: tuple[tuple[str, str, dict[str, int], tuple[int, ...]], ...] = (
    ("iw", "K", {**MODEL, "N": 8}, (100, 1_000, 10_000, 100_000, 1_000_000)),
    ("iw", "N", MODEL, (32, 128, 512, 2048)),
    ("iw", "J", MODEL, (2, 8, 32, 128)),
    ("iw", "D", MODEL, (64, 256, 1024, 4096)),
    ("ais", "T", {"N": 16, "T": 100, "J": 8, "D": 64}, (50, 100, 200, 400)),
    ("ais", "N", {"N": 16, "T": 50, "J": 8, "D": 64}, (16, 64, 256)),
    ("ais", "J", {"N": 16, "T": 50, "J": 8, "D": 64}, (2, 8, 32)),
    ("ais", "D", {"N": 16, "T": 50, "J": 8, "D": 64}, (64, 256, 1024)),
    ("mixture", "N", CLOUD, (4_000, 16_000, 64_000, 256_000)),
    ("mixture", "M", CLOUD, (4_000, 16_000, 64_000, 256_000)),
    ("mixture", "J", CLOUD, (2, 8, 32, 128)),
    ("aggregate", "N", {"J": 8}, (1_000, 2_000, 4_000, 8_000)),
    ("aggregate", "J", {"N": 2_000}, (2, 8, 32)),
)
REMARKS = {
    ("iw", "K"): "short streams pay for the pilot (at least 200 draws), and every datum for its Pareto fit",
    ("iw", "J"): "the decoder's D·64 products do not grow with J; a normal draw costs more than a product",
    ("iw", "D"): "draws, prior, log q and Pareto fits do not grow with D",
    ("ais", "T"): "the pilot's 40 temperatures × 8 chains × 2 come on top",
    ("ais", "J"): "the decoder's D·64 products do not grow with J; leapfrog steps and draws do",
    ("ais", "D"): "leapfrog steps, draws and one dispatch per temperature do not grow with D",
    ("mixture", "N"): "a call's preparation",
    ("mixture", "M"): "a call's preparation; few points fill no block",
    ("mixture", "J"): "a pair's exponential costs more than a square, so that small J look flat",
    ("aggregate", "N"): "marginals and intervals cost a fixed part beside N² pairs",
    ("aggregate", "J"): "at 2,000 data marginals and intervals outweigh the N² pairs",
}


def operations(kind: str, at: Mapping[str, int]) -> float:
    """Multiply-adds, counted on paper."""
    if kind in ("iw", "ais"):
        decoder = HIDDEN * (at["D"] + at["J"])
        if kind == "iw":
            pilot = float(np.clip(at["K"] // 5, min(max(2 * at["K"], 200), 1000), 2000))
            return at["N"] * (at["K"] + pilot) * decoder
        return at["N"] * (16 * (at["T"] - 1) + 2 * 8 * 40) * 4 * 3 * decoder  # value and gradient
    if kind == "mixture":
        return float(at["N"]) * at["M"] * (at["J"] + 2)  # per pair: J squares, one exponential, one sum
    return float(at["N"]) ** 2 * (at["J"] + 2)


def job(kind: str, at: Mapping[str, int]) -> Callable[[], Any]:
    """The call to be measured."""
    import vaeaudit as va

    rng = np.random.default_rng(0)
    if kind in ("iw", "ais"):
        model = va.mlp_vae(0, event_shape=(at["D"],), latent_dim=at["J"], hidden=(HIDDEN,))
        x = (rng.random((at["N"], at["D"])) < 0.3).astype(np.float32)
        if kind == "iw":
            return partial(va.log_evidence, model, x, method="iw", num_samples=at["K"])
        from vaeaudit.estimators.annealed import ais_log_evidence

        return partial(ais_log_evidence, model, x, num_temperatures=at["T"], start="encoder")
    loc = rng.normal(size=(at["N"], at["J"])).astype(np.float32)
    scale = np.exp(rng.uniform(np.log(0.05), np.log(0.5), loc.shape)).astype(np.float32)
    if kind == "mixture":
        own = rng.integers(at["N"], size=at["M"])
        z = (loc[own] + scale[own] * rng.normal(size=(at["M"], at["J"]))).astype(np.float32)
        return partial(va.log_mixture_density, z, loc, scale)
    return partial(va.aggregate_posterior, (loc, scale), num_samples=1)


def _resident(field: str) -> float:
    """A field of /proc/self/status in MiB; NaN where there is none."""
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    for line in status.read_text().splitlines():
        if line.startswith(field):
            return float(line.split()[1]) / 1024
    return math.nan


def point(kind: str, at: Mapping[str, int]) -> dict[str, float]:
    """Measure one point in this process."""
    call = job(kind, at)
    before = _resident("VmRSS")
    start = time.perf_counter()
    call()
    first = time.perf_counter() - start
    try:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of compilation
        reset = True
    except OSError:
        reset = False
    wall, cpu = [], []
    while sum(wall) < 0.5 and len(wall) < 50:
        start, start_cpu = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    peak = _resident("VmHWM") if reset else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "first_call": first,
        "seconds": float(np.median(wall)),
        "cpu_seconds": float(np.median(cpu)),
        "repeats": len(wall),
        "peak_mib": peak,
        "above_mib": peak - before,
    }


def slope(x: list[float], y: list[float]) -> tuple[float, float]:
    """Least-squares exponent of y over x on logarithms, and its standard error."""
    from scipy import stats

    fit = stats.linregress(np.log(x), np.log(y))
    return float(fit.slope), float(fit.stderr) if len(x) > 2 else math.nan


def fixed_part(work: list[float], seconds: list[float]) -> tuple[float, float]:
    """Fixed seconds a of the best a + b · work with a, b ≥ 0 by relative least squares, and its largest misfit."""
    from scipy import optimize

    t, w = np.array(seconds), np.array(work)
    (a, b), _ = optimize.nnls(np.stack([1 / t, w / w.max() / t], axis=1), np.ones_like(t))
    return float(a), float(np.max(np.abs((a + b * w / w.max()) / t - 1)))


def measure(kind: str, varied: str, fixed: dict[str, int], values: tuple[int, ...]) -> dict[str, Any]:
    """One table: each value in a process of its own."""
    rows = []
    for value in values:
        at = {**fixed, varied: value}
        words = [sys.executable, __file__, "--point", json.dumps({"kind": kind, "at": at})]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{kind} at {at} failed:\n{done.stderr[-2000:]}")
        rows.append({"value": value, **json.loads(done.stdout.splitlines()[-1])})
        print(f"{kind} {varied}={value}: {rows[-1]['cpu_seconds']:.3f} s CPU", file=sys.stderr)
    found, error = slope([r["value"] for r in rows], [r["cpu_seconds"] for r in rows])
    last = slope([r["value"] for r in rows[-2:]], [r["cpu_seconds"] for r in rows[-2:]])[0]
    memory, memory_error = slope([r["value"] for r in rows], [r["peak_mib"] for r in rows])
    work = [operations(kind, {**fixed, varied: r["value"]}) for r in rows]
    constant, misfit = fixed_part(work, [r["cpu_seconds"] for r in rows])
    return {
        "kind": kind,
        "varied": varied,
        "fixed": {name: size for name, size in fixed.items() if name != varied},
        "points": rows,
        "exponent": found,
        "exponent_se": error,
        "exponent_last": last,
        "expected": slope([r["value"] for r in rows], work)[0],
        "expected_last": slope([r["value"] for r in rows[-2:]], work[-2:])[0],
        "fixed_seconds": constant,
        "largest_misfit": misfit,
        "memory_exponent": memory,
        "memory_exponent_se": memory_error,
        "remark": REMARKS.get((kind, varied), ""),
    }


def report(results: list[dict[str, Any]], where: Mapping[str, Any]) -> str:
    """All tables as text."""
    lines = [
        f"{where['cpu']}, {where['cores']} cores, load {where['load_at_start']} at the start, "
        f"jax {where['jax']}, commit {where['commit']}"
    ]
    for kind, title in TITLES.items():
        chosen = [r for r in results if r["kind"] == kind]
        if not chosen:
            continue
        lines += ["", title]
        for result in chosen:
            fixed = ", ".join(f"{name} = {size:,}" for name, size in result["fixed"].items())
            lines += ["", f"over {result['varied']} ({fixed})"]
            header = [result["varied"], "CPU s", "wall s", "peak MiB", "above start MiB"]
            rows = [
                [
                    f"{p['value']:,}",
                    f"{p['cpu_seconds']:.3g}",
                    f"{p['seconds']:.3g}",
                    f"{p['peak_mib']:.0f}",
                    f"{p['above_mib']:.0f}",
                ]
                for p in result["points"]
            ]
            lines.append(table(header, rows))
    lines += [
        "",
        "Fitted exponents (least squares on logarithms, ± standard error). A fixed cost flattens small sizes: "
        "`fixed s` is a in",
        "the best a + b · (counted operations), `misfit` the largest relative distance of a point from it.",
        "",
    ]
    header = [
        "kernel",
        "over",
        "CPU time",
        "expected",
        "last two points",
        "expected there",
        "fixed s",
        "misfit",
        "peak memory",
        "remark",
    ]
    rows = [
        [
            r["kind"],
            f"{r['varied']} {r['points'][0]['value']:,}…{r['points'][-1]['value']:,}",
            f"{r['exponent']:.2f} ± {r['exponent_se']:.2f}",
            f"{r['expected']:.2f}",
            f"{r['exponent_last']:.2f}",
            f"{r['expected_last']:.2f}",
            f"{r['fixed_seconds']:.3f}",
            f"{r['largest_misfit']:.0%}",
            f"{r['memory_exponent']:.2f} ± {r['memory_exponent_se']:.2f}",
            r["remark"],
        ]
        for r in results
    ]
    return "\n".join([*lines, table(header, rows)]) + "\n"


def main() -> None:
    """Measure every table and write JSON and text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--point", help="measure one point in this process and print JSON (used internally)")
    parser.add_argument("--only", nargs="*", default=list(TITLES), choices=list(TITLES))
    parser.add_argument("--quick", action="store_true", help="only the three smallest values of each")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.point:
        chosen = json.loads(options.point)
        print(json.dumps(point(chosen["kind"], chosen["at"])))
        return
    where, begin = machine(), time.perf_counter()
    results = [
        measure(kind, varied, fixed, values[:3] if options.quick else values)
        for kind, varied, fixed, values in SWEEPS
        if kind in options.only
    ]
    where["seconds"] = round(time.perf_counter() - begin, 1)
    text = report(results, where)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scaling.txt").write_text(text, encoding="utf-8")
    record = {"machine": where, "results": results}
    if options.out == RESULTS:
        write("scaling", record)
    else:
        (options.out / "scaling.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
