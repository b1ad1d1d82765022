"""Training speed: model-steps per second of a sweep against PyTorch loops of the same network.

    python benchmarks/sweep.py [--rounds 3] [--quick] [--whole-process] [--pythae FOLDER] [--accelerator]

Before any timing, both implementations train to the same ELBO within their spread over seeds.
PyTorch runs in processes of its own, with every threading that the cores allow; the best counts.
pythae's trainer takes part where pythae is importable from FOLDER. The matrix products of a step, and
nothing else, are timed in the same rounds: the ceiling. With ``--accelerator`` one device trains many
models at once against one.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from sweep_parts import TARGETS, accelerator, products
from timing import machine, ratio, table, take_turns, write
from torch_vae import Net, flops_per_step, plain_loop, worker

from vaeaudit.core.devices import configure_devices, usable_cores

NETS = {
    "64-64-64-8": Net(event=64, hidden=(64, 64), latent=8),
    "784-200-200-50": Net(event=784, hidden=(200, 200), latent=50),
    "784-400-20": Net(event=784, hidden=(400,), latent=20),
}


def images(net: Net) -> np.ndarray:
    """Binary digits: 8×8 as they are, 28×28 by spline zoom."""
    from scipy.ndimage import zoom

    import vaeaudit as va

    grey = va.load_data("digits", form="grey").train
    side = round(net.event**0.5)
    if side != 8:
        grey = zoom(grey, (1, side / 8, side / 8), order=1)
    return (grey >= 0.5).astype(np.float32).reshape(len(grey), -1)


def our_sweep(net: Net, data: np.ndarray, models: int, epochs: int, num_devices: int | None = None):
    """Train ``models`` ELBO runs of one architecture."""
    import vaeaudit as va

    return va.sweep(_builder(net), ["elbo"], data, seeds=range(models), epochs=epochs, batch_size=net.batch,
                    num_devices=num_devices)  # fmt: skip


@functools.lru_cache
def _builder(net: Net):
    import vaeaudit as va

    return functools.partial(va.mlp_vae, event_shape=(net.event,), latent_dim=net.latent, hidden=net.hidden)


def same_elbo(net: Net, epochs: int = 40, seeds: int = 4) -> dict[str, float]:
    """Training ELBO of the last 5 epochs under both, and whether they agree within 3 standard errors."""
    data = images(net)
    history = our_sweep(net, data, seeds, epochs).history
    ours = history[history.epoch > epochs - 5].groupby("seed")["elbo"].mean().to_numpy()
    theirs = []
    for seed in range(seeds):
        kept: list[float] = []
        plain_loop(net, data, epochs, seed, kept)
        theirs.append(np.mean(kept[-5:]))
    gap = float(np.mean(ours) - np.mean(theirs))
    se = float(np.hypot(np.std(ours, ddof=1), np.std(theirs, ddof=1)) / np.sqrt(seeds))
    if abs(gap) > 3 * se + 0.05:
        raise SystemExit(f"the implementations differ: ELBO gap {gap:.3f} nats, standard error {se:.3f}")
    return {"ours": float(np.mean(ours)), "torch": float(np.mean(theirs)), "gap": gap, "gap_se": se}


class TorchPool:
    """Processes with ``threads`` each, training one model apiece at the same time."""

    def __init__(
        self, net: Net, data: np.ndarray, processes: int, threads: int, pythae: str | None = None
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.ends, self.processes = [], []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=worker, args=(theirs, net, data, threads, pythae), daemon=True)
            process.start()
            self.ends.append(ours)
            self.processes.append(process)

    def train(self, kind: str, epochs: int) -> float:
        for seed, end in enumerate(self.ends):
            end.send((kind, epochs, seed))
        return sum(end.recv() for end in self.ends)

    def close(self) -> None:
        for end, process in zip(self.ends, self.processes, strict=True):
            end.send(None)
            process.join()


def compare(name: str, net: Net, rounds: int, quick: bool, pythae: str | None) -> dict:
    """Time all contenders on one network; rates are model-steps per second."""
    data, cores = images(net), usable_cores()
    steps = len(data) // net.batch
    models, epochs = (8, 8) if quick else (32, 20) if net.event < 100 else (8, 8)
    torch_epochs = 4 if quick or net.event > 100 else 20
    kinds = ["plain", "tuned", *(["pythae"] if pythae else [])]

    def ours(num_devices: int | None) -> None:
        our_sweep(net, data, models, epochs, num_devices)

    contenders = {
        "vaeaudit sweep": (functools.partial(ours, None), models * epochs * steps),
        "vaeaudit one by one": (functools.partial(ours, 1), models * epochs * steps),
    }
    pools = {}
    for processes, threads in {(1, 1), (1, cores), (cores, 1)}:
        label = f"{processes} × {threads} thread{'s' if threads > 1 else ''}"
        pools[label] = TorchPool(net, data, processes, threads, pythae)
        for kind in kinds:
            contenders[f"{CALLED[kind]}, {label}"] = (
                functools.partial(pools[label].train, kind, torch_epochs),
                processes * torch_epochs * steps,
            )
    contenders["matrix products alone"] = products(net, seconds=0.2 if quick else 1.0)
    timings = take_turns(contenders, rounds)
    for pool in pools.values():
        pool.close()
    sweep = timings["vaeaudit sweep"]

    def fastest(kind: str, among: str) -> str:
        names = [n for n in timings if n.startswith(CALLED[kind]) and among in n]
        return max(names, key=lambda n: timings[n].rate)

    best = {kind: fastest(kind, "") for kind in kinds}
    rows = []
    for label, timing in timings.items():
        middle, low, high = ratio(sweep, timing)
        mark = " (best)" if label in best.values() else ""
        cpu = f"{timing.cpu_milliseconds:.3f}"
        rows.append([label + mark, f"{timing.rate:,.0f}", cpu, f"{middle:.2f}", f"{low:.2f}–{high:.2f}"])
    print(f"\n{name}, batch {net.batch}, {models} models, {rounds} rounds")
    print(
        table(["contender", "model-steps / s", "CPU ms / step", "sweep is × faster (median)", "range"], rows)
    )
    gflops = sweep.rate * flops_per_step(net) / 1e9
    ceiling = timings["matrix products alone"].rate * flops_per_step(net) / 1e9
    share = ratio(sweep, timings["matrix products alone"])
    print(f"matrix products of the sweep: {gflops:.0f} GFLOP/s, alone {ceiling:.0f}: share {share[0]:.0%}")
    against = {
        "one process, its best threading": {kind: fastest(kind, ", 1 ×") for kind in kinds},
        "a process per core": {kind: fastest(kind, f", {cores} ×") for kind in kinds},
        "": {"one by one": "vaeaudit one by one"},
    }
    targets = [
        (where, label, TARGETS[name][kind], ratio(sweep, timings[label]))
        for where, labels in against.items()
        for kind, label in labels.items()
        if kind in TARGETS[name]
    ]
    rows = [
        [label, where, f"{target:g}", f"{measured[0]:.2f}", "yes" if measured[0] >= target else "no"]
        for where, label, target, measured in targets
    ]
    print(table(["against", "as", "target", "measured (median)", "reached"], rows))
    return {
        "rates": {label: timing.rate for label, timing in timings.items()},
        "cpu_milliseconds": {label: timing.cpu_milliseconds for label, timing in timings.items()},
        "seconds": {label: timing.seconds.tolist() for label, timing in timings.items()},
        "ratios": {label: ratio(sweep, timing) for label, timing in timings.items()},
        "best": best,
        "models": models,
        "epochs": epochs,
        "torch_epochs": torch_epochs,
        "matrix_gflops": gflops,
        "ceiling_gflops": ceiling,
        "share_of_ceiling": share,
        "targets": [
            {"against": label, "as": where, "target": target, "measured": measured}
            for where, label, target, measured in targets
        ],
    }


CALLED = {"plain": "torch plain", "tuned": "torch tuned", "pythae": "pythae's trainer"}

WHOLE = """
from vaeaudit.core.devices import configure_devices
configure_devices()
import functools, vaeaudit as va
build = functools.partial(va.mlp_vae, event_shape=(8, 8), latent_dim=8, hidden=(64, 64))
va.sweep(build, ["elbo"], va.load_data("digits").train, seeds=range(32), epochs=100)
"""
WHOLE_TORCH = """
import sys; sys.path.insert(0, {folder!r}); sys.path.append({pythae!r})
import torch; torch.set_num_threads({threads})
import vaeaudit as va
from torch_vae import Net, {loop}
data = va.load_data("digits").train.reshape(-1, 64).copy()
for seed in range({first}, {models}, {stride}): {loop}(Net(64, (64, 64), 8), data, 100, seed)
"""


def whole_process(pythae: str | None, quick: bool) -> dict[str, float]:
    """Seconds for 32 VAEs × 100 epochs of digits in fresh processes, our cache cold and warm.

    All train on the same images and evaluate nothing else. Ours are medians, half of the runs
    before those of PyTorch and half after.
    """
    ours: dict[str, list[float]] = {"vaeaudit, cold cache": [], "vaeaudit, warm cache": []}

    def run_ours() -> None:
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "VAEAUDIT_CACHE_DIR": cache}
            environment.pop("JAX_COMPILATION_CACHE_DIR", None)
            for kept in ours.values():
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", WHOLE], env=environment, check=True)
                kept.append(time.perf_counter() - start)

    for _ in range(1 if quick else 2):
        run_ours()
    seconds = dict.fromkeys(ours, math.nan)
    cores = usable_cores()
    models = 2 * cores if quick else 32
    for kind in ("tuned", *(["pythae"] if pythae else [])):
        for processes in sorted({1, cores}):
            script = functools.partial(
                WHOLE_TORCH.format, folder=str(Path(__file__).parent), threads=1, stride=processes,
                models=models, loop=f"{kind}_loop", pythae=pythae or "",
            )  # fmt: skip
            start = time.perf_counter()
            running = [
                subprocess.Popen([sys.executable, "-c", script(first=i)], stdout=subprocess.DEVNULL)
                for i in range(processes)
            ]
            if any(process.wait() for process in running):
                raise SystemExit(f"a process of {CALLED[kind]} failed")
            # fewer models under --quick: start-up counts as part of each, to pythae's disadvantage
            label = f"{CALLED[kind]}, {processes} process{'es' if processes > 1 else ''}"
            seconds[label] = (time.perf_counter() - start) * 32 / models
    for _ in range(1 if quick else 2):
        run_ours()
    seconds |= {label: float(np.median(times)) for label, times in ours.items()}
    print("\n32 VAEs (64-64-64-8) × 100 epochs of digits, whole process")
    cold, warm = seconds["vaeaudit, cold cache"], seconds["vaeaudit, warm cache"]
    rows = [[label, f"{s:.1f}", f"{s / cold:.1f}", f"{s / warm:.1f}"] for label, s in seconds.items()]
    print(table(["run", "seconds", "cold: × faster", "warm: × faster"], rows))
    print("targets, against pythae's trainer: 10 cold, 15 warm")
    return seconds


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--quick", action="store_true", help="small sizes, for a look")
    parser.add_argument("--whole-process", action="store_true", help="also time fresh processes")
    parser.add_argument("--pythae", metavar="FOLDER", help="where pythae is installed")
    parser.add_argument("--accelerator", action="store_true", help="many models on one device instead")
    arguments = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"  # pythae's progress bars
    if not arguments.accelerator:
        configure_devices(compilation_cache=False)
    shown = io.StringIO()
    with contextlib.redirect_stdout(_Both(sys.stdout, shown)):
        name, record = _measure(arguments)
        path = write(name, record)
    path.with_suffix(".txt").write_text(shown.getvalue(), encoding="utf-8")
    print(f"\nwritten to {path}")


class _Both(io.TextIOBase):
    """Writes to two streams."""

    def __init__(self, *streams) -> None:
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
            stream.flush()
        return len(text)


def _measure(arguments: argparse.Namespace) -> tuple[str, dict]:
    if arguments.accelerator:
        record = accelerator(arguments.quick, arguments.rounds)
        return "sweep_accelerator", {"machine": machine(), **record}
    import torch

    torch.set_num_threads(1)  # of this process, which trains only to compare the ELBO
    record = {"machine": {**machine(), "torch": torch.__version__}, "nets": {}, "same_elbo": {}}
    print(json.dumps(record["machine"]))
    for name, net in ((name, NETS[name]) for name in arguments.nets):
        if net.event < 100:
            record["same_elbo"][name] = agreement = same_elbo(net)
            print(f"{name}: training ELBO {agreement['ours']:.3f} (ours), {agreement['torch']:.3f} (torch)")
        record["nets"][name] = compare(name, net, arguments.rounds, arguments.quick, arguments.pythae)
    if arguments.whole_process:
        record["whole_process_seconds"] = whole_process(arguments.pythae, arguments.quick)
    return "sweep", record


if __name__ == "__main__":
    main()
