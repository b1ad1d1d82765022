"""One member of a team of processes: it exchanges bytes with the others and notices when one of them dies."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator

import jax

from vaeaudit.core.cluster import DONE, JOINING, STEP_FILE, Place
from vaeaudit.core.coordination import Client
from vaeaudit.core.errors import ProcessError

PREFIX = "vaeaudit"
PART = 1 << 23  # bytes per entry of the coordinator's store
POLL = 1.0  # seconds between looks at the other processes while waiting for one
LAST = 1.0  # seconds between the others' last word and the coordinator's end
GRACE = 5.0  # seconds that a failing coordinator stays for the others to read why


class Team:
    """The processes of one run, which meet at the same exchanges in the same order.

    Parameters
    ----------
    client
        Client of JAX's coordination service; its key-value store carries everything.
    place
        Which process this is.
    timeout
        Seconds without a sign of life after which a process counts as dead.

    Notes
    -----
    Each process writes a counter into the store several times per ``timeout``, from a thread of its own, and
    reads those of the others: a long computation is no silence, a killed or stopped process is.
    """

    def __init__(self, client: Client, place: Place, timeout: float) -> None:
        self.client, self.place, self.timeout = client, place, timeout
        self.context = ""  # of the steps to come, such as the cell of a study
        self._step = JOINING
        self._number = 0  # of exchanges so far
        self._written: list[str] = []  # entries of the last exchange
        self._over = threading.Event()
        now = time.monotonic()
        self._signs = dict.fromkeys(self._others, ("", now))  # last sign of life, and when it changed
        threading.Thread(target=self._live, name="vaeaudit-alive", daemon=True).start()

    @property
    def _others(self) -> list[int]:
        return [p for p in range(self.place.num_processes) if p != self.place.process_id]

    @property
    def step(self) -> str:
        """What this process is doing, for messages."""
        return self._step

    @step.setter
    def step(self, label: str) -> None:
        self._step = ", ".join(part for part in (self.context, label) if part) or "between two steps"
        note_step(self._step)

    def exchange(self, label: str, payload: bytes) -> list[bytes]:
        """Give ``payload`` to all processes and take theirs, in the order of the processes.

        Raises
        ------
        ProcessError
            If a process failed, died, or is at another step.
        """
        self.step = label
        base, self._number = f"{PREFIX}/x/{self._number}", self._number + 1
        parts = [payload[i : i + PART] for i in range(0, len(payload), PART)]
        head = json.dumps({"step": self.step, "parts": len(parts)}).encode()
        keys = [f"{base}/{self.place.process_id}/{k}" for k in range(len(parts) + 1)]
        with self._reaching():
            for key, part in zip(keys, [head, *parts], strict=True):
                self.client.key_value_set_bytes(key, part)
        received = {self.place.process_id: payload}
        for process in self._others:
            theirs = json.loads(self._wait(f"{base}/{process}/0", process))
            if theirs["step"] != self.step:
                raise ProcessError(
                    f"process {process} is at {theirs['step']!r} where {self.place} is at {self.step!r}: they "
                    "do not run the same plan. Start all with the same command, versions and data."
                )
            received[process] = b"".join(
                self._wait(f"{base}/{process}/{k + 1}", process) for k in range(theirs["parts"])
            )
        with self._reaching():  # whoever is at this exchange has read the one before
            for key in self._written:
                self.client.key_value_delete(key)
        self._written = keys
        self.step = ""
        return [received[p] for p in range(self.place.num_processes)]

    def part(self) -> None:
        """Last word of a run that went well: the coordinator stays until the others have left.

        Notes
        -----
        JAX lets no process wait for another at the end where a lost one must not end all, and ends a process
        whose coordinator left first. A supervising process reads in the step that nothing was lost then.
        """
        note_step(DONE)
        self._over.set()
        with self._reaching():
            if self.place.process_id != 0:
                self.client.key_value_set(f"{PREFIX}/leaving/{self.place.process_id}", "")
                return
            end = time.monotonic() + self.timeout
            while time.monotonic() < end and len(self._entries("leaving")) < len(self._others):
                time.sleep(0.02)
            time.sleep(LAST if self._others else 0.0)

    def leave(self, reason: str = "", *, echo: bool = False) -> None:
        """End the signs of life; with a reason tell the others why this process fails."""
        if self._over.is_set():
            return
        self._over.set()
        if not reason:
            return
        note = json.dumps({"echo": echo, "step": self._step, "reason": reason})
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            self.client.key_value_set(f"{PREFIX}/failed/{self.place.process_id}", note)
            end = time.monotonic() + (GRACE if self.place.process_id == 0 else 0.0)
            while time.monotonic() < end and len(self._entries("knows")) < len(self._others):
                time.sleep(0.05)

    def _live(self) -> None:
        count = 0
        while not self._over.is_set():
            count += 1
            try:
                self.client.key_value_set(
                    f"{PREFIX}/alive/{self.place.process_id}", f"{count} {self._step}", allow_overwrite=True
                )
                self._look()
            except jax.errors.JaxRuntimeError:
                return  # the next exchange says that the coordinator is gone
            self._over.wait(min(self.timeout / 5, 5.0))

    def _entries(self, kind: str) -> dict[int, str]:
        """Process → value, of one kind of entry."""
        found = self.client.key_value_dir_get(f"{PREFIX}/{kind}/")
        return {int(key.rsplit("/", 1)[1]): value for key, value in found}

    def _look(self) -> None:
        signs, now = self._entries("alive"), time.monotonic()
        for process in self._others:
            sign = signs.get(process, "")
            if sign != self._signs[process][0]:
                self._signs[process] = (sign, now)

    def _wait(self, key: str, process: int) -> bytes:
        """An entry of another process, as soon as it is there."""
        while True:
            try:
                return self.client.blocking_key_value_get_bytes(key, int(1000 * min(POLL, self.timeout / 5)))
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise self._lost(error) from error
            with self._reaching():
                failed = self._entries("failed")
                self._look()
                if failed:
                    self.client.key_value_set(f"{PREFIX}/knows/{self.place.process_id}", "")
            if failed:
                notes = [(json.loads(note), other) for other, note in sorted(failed.items())]
                said, other = min(notes, key=lambda entry: entry[0]["echo"])  # a first cause, if there is one
                words = said["reason"] if said["echo"] else f"in step {said['step']!r}: {said['reason']}"
                raise ProcessError(f"process {other} ended {'as ' if said['echo'] else ''}{words}")
            for other in self._others:
                sign, changed = self._signs[other]
                silent = time.monotonic() - changed
                if silent > self.timeout:
                    where = sign.partition(" ")[2] or JOINING
                    raise ProcessError(
                        f"process {other} of {self.place.num_processes} gave no sign of life for {silent:.0f} s "
                        f"(its last step: {where!r}; step here: {self._step!r}): it was killed, or its machine "
                        "or network failed. Finished cells are kept: start all processes again to go on."
                    )

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> ProcessError:
        first = str(error).partition("\n")[0]
        return ProcessError(
            f"{self.place} lost process 0, which coordinates, in step {self._step!r} ({first}): it ended, or "
            "its machine or network failed. Finished cells are kept: start all processes again to go on."
        )


def note_step(step: str) -> None:
    """Leave word of the step for a supervising process, if there is one."""
    if path := os.environ.get(STEP_FILE):
        with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:
            file.write(step)
