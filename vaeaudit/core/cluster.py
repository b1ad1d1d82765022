"""Which process of how many this one is: from options, or from the variables of Slurm and MPI launchers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from vaeaudit.core.errors import ProcessError

SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
OPEN_MPI_URI = "OMPI_MCA_orte_hnp_uri"  # from it JAX takes the coordinator's address

# launcher → variables of the number of processes and of this one's number
RANKS = {
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    "MPI": ("PMI_SIZE", "PMI_RANK"),
}

JOINING = "joining the other processes"  # the first step of every process
DONE = "the end, with everything done"  # the last
STEP_FILE = "VAEAUDIT_STEP_FILE"  # variable: where a supervising process finds the step after a crash


@dataclass(frozen=True)
class Place:
    """Where this process stands; a ``coordinator`` of None is left to JAX, which asks the launcher."""

    coordinator: str | None
    num_processes: int
    process_id: int
    launcher: str = "options"

    def __str__(self) -> str:
        return f"process {self.process_id} of {self.num_processes}"


def find_place(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Place:
    """Complete what the options say by what the launcher says.

    Parameters
    ----------
    coordinator
        ``HOST:PORT`` of process 0; ``JAX_COORDINATOR_ADDRESS`` where omitted.
    num_processes, process_id
        The launcher's where omitted.
    environment
        Variables; those of this process where omitted.

    Returns
    -------
    Place

    Raises
    ------
    ProcessError
        If something is missing, malformed, or contradicts the launcher; the message says what to do.
    """
    env = os.environ if environment is None else environment
    launcher, found = _launched(env)
    coordinator = coordinator or env.get("JAX_COORDINATOR_ADDRESS") or None
    if found:
        count, number = found
        for option, given, theirs in (
            ("--num-processes", num_processes, count),
            ("--process-id", process_id, number),
        ):
            if given is not None and given != theirs:
                raise ProcessError(
                    f"{option} {given} contradicts {launcher}, which says {theirs}. Leave the option out, or "
                    "start the processes without the launcher."
                )
        num_processes, process_id = count, number
    missing = [
        option
        for option, value in (
            ("--coordinator", coordinator or ("" if launcher in ("Slurm", "Open MPI 4") else None)),
            ("--num-processes", num_processes),
            ("--process-id", process_id),
        )
        if value is None
    ]
    if missing or num_processes is None or process_id is None:
        hint = "; this is a Slurm job: start it with `srun`" if "SLURM_JOB_ID" in env and not found else ""
        raise ProcessError(
            f"--distributed needs {', '.join(missing)}, and no launcher (Slurm's srun, mpirun) says so{hint}. "
            "Give every process --coordinator HOST:PORT of process 0, --num-processes N and its own "
            "--process-id from 0 to N − 1."
        )
    if num_processes < 1 or not 0 <= process_id < num_processes:
        raise ProcessError(
            f"--process-id must lie between 0 and --num-processes − 1; got process {process_id} of "
            f"{num_processes}."
        )
    if coordinator is not None:
        split_address(coordinator)
    return Place(coordinator, num_processes, process_id, launcher or "options")


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``."""
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
        raise ProcessError(f"--coordinator must be HOST:PORT, e.g. node01:5679; got {address!r}.")
    return host.strip("[]"), int(port)


def _launched(env: Mapping[str, str]) -> tuple[str, tuple[int, int] | None]:
    """The launcher's name, and its number of processes and this one's number."""
    if all(name in env for name in SLURM):
        return "Slurm", (int(env["SLURM_NTASKS"]), int(env["SLURM_PROCID"]))
    for launcher, (size, rank) in RANKS.items():
        if size in env and rank in env:
            name = "Open MPI 4" if OPEN_MPI_URI in env else launcher
            return name, (int(env[size]), int(env[rank]))
    return "", None
