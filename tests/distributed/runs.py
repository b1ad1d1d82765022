"""Start runs of the tiny study as real processes on this machine."""

import os
import socket
import subprocess
import sys
from pathlib import Path

STUDY = Path(__file__).parent / "tiny_study.py"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


QUICK = "--xla_backend_optimization_level=0"  # compiles in half the time; the slow test does without


def clean(devices=1, flags=QUICK, **variables):
    """The environment without settings of other runs, and with forced CPU devices."""
    dropped = ("TF_CPP_", "JAX_", "VAEAUDIT_", "SLURM_", "OMPI_", "PMI_", "XLA_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    forced = f"--xla_force_host_platform_device_count={devices} {flags}"
    return {**kept, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": forced, **variables}


def begin(folder, *options, devices=1, flags=QUICK, study=STUDY, **variables):
    """One process of ``vaeaudit run``, not waited for; the tiny study without its page unless named otherwise."""
    words = [
        sys.executable,
        "-m",
        "vaeaudit",
        "run",
        str(study),
        *(["--no-report"] if study is STUDY else []),
        "--output",
        str(folder),
        *options,
    ]
    environment = clean(devices, flags, **variables)
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def begin_team(folder, *options, count=2, variables=(), **common):
    """The processes of a distributed run; ``variables`` gives each its own."""
    address = f"127.0.0.1:{free_port()}"
    own = list(variables) or [{}] * count
    return [
        begin(
            folder, "--distributed", "--coordinator", address, "--num-processes", str(count),
            "--process-id", str(i), *options, **own[i], **common,
        )
        for i in range(count)
    ]  # fmt: skip


def end(processes, timeout=240):
    """Exit code, stdout and stderr of each; none outlives the test."""
    try:
        return [(p.returncode, out, err) for p in processes for out, err in [p.communicate(timeout=timeout)]]
    finally:
        for process in processes:
            process.kill()


def tables(folder):
    """Bytes of everything that must not depend on how many processes computed it."""
    files = [*sorted((Path(folder) / "tables").glob("*")), Path(folder) / "results.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
