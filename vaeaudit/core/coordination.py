"""The way to JAX's coordination service: its port, and its key-value store, for which JAX has no public name."""

from __future__ import annotations

import os
import socket
import time
from typing import Protocol

import jax

from vaeaudit.core.cluster import Place, split_address
from vaeaudit.core.errors import ProcessError


class Client(Protocol):
    """What `vaeaudit.core.team` asks of the coordination service's client."""

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None: ...
    def key_value_set_bytes(self, key: str, value: bytes) -> None: ...
    def blocking_key_value_get_bytes(self, key: str, timeout_in_ms: int) -> bytes: ...
    def key_value_dir_get(self, key: str) -> list[tuple[str, str]]: ...
    def key_value_delete(self, key: str) -> None: ...


NEEDED = tuple(name for name in vars(Client) if "key_value" in name)


def coordination_client() -> Client:
    """Client of the coordination service that ``jax.distributed.initialize`` started.

    Returns
    -------
    Client

    Raises
    ------
    ProcessError
        If this version of JAX keeps the client elsewhere, or it lacks something that is used here.

    Notes
    -----
    The public collectives (``jax.experimental.multihost_utils``) are no substitute. They run on the devices, one
    compiled program per shape, equal shapes in all processes, through Gloo or NCCL. They have no timeout: beside
    a stopped process they wait on. Beside a killed one they raise ``Gloo AllGather failed: Connection closed by
    peer``, which names neither process nor step. ``jax.distributed`` itself offers `initialize`,
    `is_initialized` and `shutdown` (JAX 0.10 to 0.12).
    """
    try:
        from jax._src import distributed

        client = distributed.global_state.client
    except (ImportError, AttributeError) as error:
        raise _other_version(str(error)) from error
    if client is None:
        raise _other_version("`jax.distributed.initialize` left no client")
    missing = [name for name in NEEDED if not callable(getattr(client, name, None))]
    if missing:
        raise _other_version(f"its client has no {', '.join(missing)}")
    return client


def _other_version(what: str) -> ProcessError:
    return ProcessError(
        f"runs with --distributed exchange results through the key-value store of JAX 0.10 to 0.12, and JAX "
        f"{jax.__version__} is not like them there ({what}). Install another version, or run without --distributed."
    )


def check_port(address: str, place: Place) -> None:
    """See that the coordinator's port is free: where it is not, JAX may end in a segmentation fault."""
    port = split_address(address)[1]
    with socket.socket() as probe:
        if os.name == "posix":  # elsewhere it would share the port with its owner
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed run's last packets
        try:
            probe.bind(("", port))
        except OSError as error:
            raise ProcessError(
                f"{place} cannot coordinate at {address}: {error.strerror or error}. Choose a port that no other "
                "program uses on this host, the same in --coordinator of every process."
            ) from error


def reach(address: str, timeout: float, place: Place) -> None:
    """Wait until the coordinator's port answers: JAX itself would end the process without a word of why."""
    end, why = time.monotonic() + timeout, ""
    while time.monotonic() < end:
        try:
            socket.create_connection(split_address(address), timeout=min(timeout, 5.0)).close()
            return
        except OSError as error:
            why = str(error)
            time.sleep(0.2)
    raise ProcessError(
        f"{place} found no coordinator at {address} for {timeout:g} s ({why}). Process 0 must run with the same "
        "--coordinator, on the host of that name, and the port must be open between the hosts."
    )
