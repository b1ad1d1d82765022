"""Weak scaling: work grows with the number of devices or processes, and time should not.

    python benchmarks/weak_scaling.py                      about 5 minutes; writes results/weak_scaling.{json,txt}
    python benchmarks/weak_scaling.py --workers 1 2        fewer

Each row is a fresh set of processes. Per worker (a forced CPU device of one process, or a process with one
device) the work is a fixed number of models to train and of data to evaluate. Efficiency is the time of one
worker over that of P. All workers of this script share one machine: with C cores, P workers cannot reach more
than min(1, C/P), which is printed beside ("cores allow").
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from timing import RESULTS, machine

MODELS, EPOCHS = 4, 12  # per worker
DATA, SAMPLES, BATCH = 256, 2000, 32
POINTS, COMPONENTS, LATENT = 8000, 8000, 8
BEGIN, END = "<!-- weak scaling: written by the benchmark -->", "<!-- end -->"
TASKS = ("sweep", "log p(x), iw", "log q(z)")


def work(task: str, workers: int) -> None:
    """One run of a task for this many workers."""
    import jax

    import vaeaudit as va

    def build(rng_key: jax.Array) -> va.NeuralVAE:
        return va.mlp_vae(rng_key, event_shape=(8, 8), latent_dim=8, hidden=(64, 64))

    data = va.load_data("digits")
    if task == "sweep":
        va.sweep(build, ["elbo"], data, seeds=range(MODELS * workers), epochs=EPOCHS)
        return
    rng = np.random.default_rng(0)
    if task == "log p(x), iw":
        x = np.resize(data.test, (DATA * workers, 8, 8))
        va.log_evidence(build(jax.random.key(0)), x, 0, "iw", SAMPLES, batch_size=BATCH)
        return
    from vaeaudit.estimators.mixture_density import log_mixture_density

    z = rng.normal(size=(POINTS * workers, LATENT)).astype(np.float32)
    loc = rng.normal(size=(COMPONENTS, LATENT)).astype(np.float32)
    log_mixture_density(z, loc, np.full_like(loc, 0.3), method="direct")


def member(arguments: argparse.Namespace) -> None:
    """One process: join, warm up, and time; the first prints its seconds."""
    if hasattr(os, "sched_setaffinity"):  # one core per worker: otherwise one worker takes all cores
        cores = sorted(os.sched_getaffinity(0))
        first = arguments.process_id % len(cores)
        os.sched_setaffinity(
            0, cores[first : first + 1] if arguments.processes > 1 else cores[: arguments.devices]
        )
    from vaeaudit.core import processes
    from vaeaudit.core.cluster import Place
    from vaeaudit.core.devices import configure_devices

    configure_devices(arguments.devices, compilation_cache=False)
    if arguments.processes > 1:
        processes.start(Place(arguments.address, arguments.processes, arguments.process_id))
    seconds: dict[str, list[float]] = {}
    for task in TASKS:
        work(task, arguments.workers)  # compiles
        for turn in range(arguments.rounds):
            processes.from_first(f"{task}, turn {turn}")  # all begin together
            start = time.perf_counter()
            work(task, arguments.workers)
            seconds.setdefault(task, []).append(time.perf_counter() - start)
    processes.finish()
    if arguments.process_id == 0:
        print(json.dumps(seconds))


def measure(kind: str, workers: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each task with P devices in one process, or P processes with one device."""
    devices, count = (workers, 1) if kind == "devices" else (1, workers)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    words = [
        sys.executable, __file__, "--member", "--workers", str(workers), "--devices", str(devices),
        "--processes", str(count), "--address", address, "--rounds", str(rounds),
    ]  # fmt: skip
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment.pop("XLA_FLAGS", None)
    team = [
        subprocess.Popen([*words, "--process-id", str(i)], env=environment, stdout=subprocess.PIPE, text=True)
        for i in range(count)
    ]
    outputs = [process.communicate()[0] for process in team]
    if any(process.returncode for process in team):
        raise SystemExit(f"a process of {kind} {workers} failed; see above")
    return json.loads(outputs[0].splitlines()[-1])


def main() -> None:
    """Measure all rows, in turns, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    for name in ("member", "devices", "processes", "process_id", "address"):
        kind = {"action": "store_true"} if name == "member" else {"type": str if name == "address" else int}
        parser.add_argument(f"--{name.replace('_', '-')}", help=argparse.SUPPRESS, **kind)
    arguments = parser.parse_args()
    if arguments.member:
        arguments.workers = arguments.workers[0]
        member(arguments)
        return
    rows = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for kind in ("devices", "processes"):
        one: dict[str, float] = {}
        for workers in arguments.workers:
            found = measure(kind, workers, arguments.rounds)
            for task, seconds in found.items():
                median = float(np.median(seconds))
                one.setdefault(task, median * (1 if workers == arguments.workers[0] else np.nan))
                rows.append(
                    {
                        "workers are": kind, "task": task, "workers": workers, "seconds": median,
                        "fastest": min(seconds), "slowest": max(seconds), "efficiency": one[task] / median,
                        "cores allow": min(1.0, cores / workers),
                    }
                )  # fmt: skip
                print(text(rows[-1:]).splitlines()[-1], flush=True)
    command = "python " + " ".join(["benchmarks/weak_scaling.py", *sys.argv[1:]])
    per_worker = {
        "sweep": f"{MODELS} models 64-64-64-8, {EPOCHS} epochs of digits",
        "log p(x), iw": f"{DATA} data, {SAMPLES} draws, batches of {BATCH}",
        "log q(z)": f"{POINTS} points against {COMPONENTS} components, {LATENT} latents",
    }
    document = {"command": command, "machine": machine(), "work per worker": per_worker, "rows": rows}
    (arguments.output / "weak_scaling.json").write_text(json.dumps(document, indent=1) + "\n")
    lines = [command, *(f"{task}: {words} per worker" for task, words in per_worker.items()), "", text(rows)]
    (arguments.output / "weak_scaling.txt").write_text("\n".join(lines) + "\n")
    if arguments.output == RESULTS:
        into_page(
            "\n".join(
                [*lines[1:-2], f"load at the start: {document['machine']['load_at_start']}", *lines[-2:]]
            )
        )


def into_page(table: str) -> None:
    """Put the table between the marks of docs/cluster.md."""
    page = RESULTS.parents[1] / "docs" / "cluster.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n```\n{table}\n```\n{END}{after}", encoding="utf-8")


def text(rows: list[dict]) -> str:
    """Aligned columns."""
    head = list(rows[0])
    body = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    widths = [max(12, *(len(line[i]) for line in [head, *body])) for i in range(len(head))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *body]
    )


if __name__ == "__main__":
    main()
