"""A sweep on the whole of MNIST with dynamic binarisation: seconds, steps per second and peak memory.

    python benchmarks/full_mnist.py --data-dir FOLDER [--models 8] [--epochs 1]

FOLDER holds mnist/ with the IDX files; without it they are downloaded.
"""

from __future__ import annotations

import argparse
import functools
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from timing import machine, table, write

from vaeaudit.core.devices import configure_devices


def peak_megabytes() -> float:
    """Largest resident memory of this process so far."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (1024**2 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir")
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()
    configure_devices(compilation_cache=False)
    import vaeaudit as va

    data = va.load_data("mnist", data_dir=arguments.data_dir)
    whole = np.concatenate([part for part in (data.train, data.validation) if part is not None])
    loaded = peak_megabytes()
    build = functools.partial(va.mlp_vae, event_shape=data.event_shape, latent_dim=50, hidden=(200, 200))
    seconds: dict[str, float] = {}

    def progress(epoch: int, epochs: int, info: dict) -> None:
        seconds.update({key: info[key] for key in ("seconds", "compile_seconds") if key in info})

    start, cpu = time.perf_counter(), time.process_time()
    sweep = va.sweep(
        build, ["elbo"], whole, seeds=range(arguments.models), epochs=arguments.epochs, batch_size=128,
        binarise="dynamic", progress=progress,
    )  # fmt: skip
    total, cpu = time.perf_counter() - start, time.process_time() - cpu
    steps = arguments.models * arguments.epochs * (len(whole) // 128)
    last = sweep.history[sweep.history.epoch == arguments.epochs]
    record = {
        "machine": machine(),
        "images": len(whole),
        "models": arguments.models,
        "epochs": arguments.epochs,
        "seconds_total": total,
        "seconds_training": seconds["seconds"],
        "seconds_compiling": seconds["compile_seconds"],
        "cpu_seconds": cpu,
        "model_steps_per_second": steps / seconds["seconds"],
        "cpu_milliseconds_per_step": 1e3 * cpu / steps,
        "peak_megabytes": peak_megabytes(),
        "peak_megabytes_before_training": loaded,
        "training_elbo": float(last["elbo"].mean()),
    }
    path = write("full_mnist", record)
    rows = [
        [name.replace("_", " "), f"{value:,.1f}" if isinstance(value, float) else str(value)]
        for name, value in record.items()
        if name != "machine"
    ]
    shown = f"784-200-200-50, batch 128, dynamic binarisation\n{table(['quantity', 'value'], rows)}"
    path.with_suffix(".txt").write_text(shown + "\n", encoding="utf-8")
    print(f"{shown}\nwritten to {path}")


if __name__ == "__main__":
    main()
