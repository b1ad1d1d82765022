"""Exchanges and shares, over a store in memory: what each process sends, keeps, and says when others fail."""

import threading
import time
from functools import partial

import jax
import numpy as np
import pytest

from vaeaudit.core import processes, team
from vaeaudit.core.cluster import Place
from vaeaudit.core.errors import ArgumentError, ProcessError, ShapeError
from vaeaudit.core.wire import pack, unpack


class Store:
    """The part of JAX's coordination client that is used."""

    def __init__(self):
        self.entries, self.changed = {}, threading.Condition()

    def key_value_set(self, key, value, allow_overwrite=False):
        with self.changed:
            if key in self.entries and not allow_overwrite:
                raise jax.errors.JaxRuntimeError(f"ALREADY_EXISTS: {key}")
            self.entries[key] = value
            self.changed.notify_all()

    def key_value_set_bytes(self, key, value):
        assert isinstance(value, bytes)
        self.key_value_set(key, value)

    def blocking_key_value_get_bytes(self, key, timeout_in_ms):
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.entries, timeout_in_ms / 1000):
                raise jax.errors.JaxRuntimeError(f"DEADLINE_EXCEEDED: {key}")
            return self.entries[key]

    def key_value_dir_get(self, prefix):
        return [(key, value) for key, value in self.entries.items() if key.startswith(prefix)]

    def key_value_delete(self, key):
        del self.entries[key]


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def members(store):
    """Three processes with a patience of half a second."""
    made = [team.Team(store, Place("a:1", 3, p), 0.5) for p in range(3)]
    yield made
    for member in made:
        member.leave()


def together(*functions):
    """Each function's result or exception, run side by side."""
    found = [None] * len(functions)

    def call(i):
        try:
            found[i] = functions[i]()
        except ProcessError as error:
            found[i] = error

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "a process waits for ever"
    return found


def test_everybody_gets_everything_in_order_and_the_store_is_tidied(store, members, monkeypatch):
    monkeypatch.setattr(team, "PART", 4)  # many parts
    for turn in range(3):
        sent = [b"x" * p * (turn + 3) for p in range(3)]
        found = together(*(partial(members[p].exchange, f"turn {turn}", sent[p]) for p in range(3)))
        assert found == [sent] * 3
    left = {key.split("/")[2] for key in store.entries if key.startswith("vaeaudit/x/")}
    assert left == {"2"}, "entries of earlier exchanges stayed"


def test_processes_at_different_steps_are_told_apart(members):
    found = together(
        lambda: members[0].exchange("a", b""), lambda: members[1].exchange("b", b""), lambda: None
    )
    assert "process 1 is at 'b' where process 0 of 3 is at 'a'" in str(found[0])
    assert "process 0 is at 'a' where process 1 of 3 is at 'b'" in str(found[1])


def test_silence_is_noticed_and_long_work_is_not_silence(members):
    members[2].step = "its last words"
    time.sleep(0.2)

    def late():
        time.sleep(1.2)  # more than twice the patience: the signs of life go on
        return members[1].exchange("a", b"1")

    begun = time.monotonic()
    members[2]._over.set()  # as if killed
    found = together(lambda: members[0].exchange("a", b"0"), late)
    assert time.monotonic() - begun < 5
    for error in found:
        assert "process 2 of 3 gave no sign of life" in str(error)
        assert "its last step: 'its last words'; step here: 'a'" in str(error)


def test_the_first_cause_is_told_and_not_its_echo(members):
    members[2].leave("no space left")
    found = together(lambda: members[1].exchange("a", b""))
    assert str(found[0]) == "process 2 ended in step 'joining the other processes': no space left"
    members[1].leave(str(found[0]), echo=True)
    assert "process 2 ended in step" in str(together(lambda: members[0].exchange("a", b""))[0])


def test_a_lost_coordinator_is_named(members, store, monkeypatch):
    def gone(*arguments):
        raise jax.errors.JaxRuntimeError("UNAVAILABLE: Socket closed")

    monkeypatch.setattr(store, "blocking_key_value_get_bytes", gone)
    (error,) = together(lambda: members[1].exchange("a", b""))
    assert "process 1 of 3 lost process 0, which coordinates, in step 'a' (UNAVAILABLE" in str(error)


class Stub:
    """A team of two in which the other process sends what it is told."""

    def __init__(self, process_id, other):
        self.place, self.other, self.labels, self.step = Place("a:1", 2, process_id), other, [], ""

    def exchange(self, label, payload):
        self.labels.append(label)
        both = [payload, payload]
        both[1 - self.place.process_id] = pack(
            self.other(unpack(payload)) if callable(self.other) else self.other
        )
        return both


@pytest.mark.parametrize("process_id", [0, 1])
def test_each_process_computes_every_second_piece(monkeypatch, process_id):
    done = []

    def work(i):
        done.append(i)
        assert not processes.divided(10), "work inside work is not shared out"
        return {"i": i, "x": np.full(i, 0.1)}

    theirs = [{"i": i, "x": np.full(i, 0.1)} for i in range(1 - process_id, 5, 2)]
    stub = Stub(process_id, {"done": theirs})
    monkeypatch.setattr(processes, "_team", stub)
    found = processes.spread(work, 5, "pieces")
    assert done == list(range(process_id, 5, 2))
    assert [piece["i"] for piece in found] == [0, 1, 2, 3, 4]
    assert all(piece["x"].tolist() == [0.1] * i for i, piece in enumerate(found))
    assert stub.labels == ["pieces (5)"]
    assert processes.spread(lambda i: processes.divided(2), 1, "one piece, done by all") == [True]
    with processes.alone():
        assert len(processes.spread(lambda i: i, 4, "alone")) == 4
    assert stub.labels == ["pieces (5)"], "what is not shared out must not be exchanged"


def test_an_error_of_one_is_the_error_of_all(monkeypatch):
    def work(i):
        raise ShapeError("mine")

    monkeypatch.setattr(processes, "_team", Stub(0, {"done": [1]}))
    with pytest.raises(ShapeError, match="mine"):
        processes.spread(work, 2, "pieces")
    monkeypatch.setattr(processes, "_team", Stub(0, {"error": "ArgumentError", "message": "theirs"}))
    with pytest.raises(ArgumentError, match="theirs"):
        processes.spread(lambda i: i, 2, "pieces")


def test_what_differs_is_named(monkeypatch):
    monkeypatch.setattr(processes, "_team", Stub(0, {"version": "1", "seed": 4}))
    with pytest.raises(ProcessError, match="in the plan: seed is 3 here and 4 there"):
        processes.agree("the plan", {"version": "1", "seed": 3})
    processes.agree("the plan", {"version": "1", "seed": 4})


def test_one_process_exchanges_nothing():
    assert processes.is_first()
    assert processes.num_processes() == 1
    assert processes.spread(lambda i: i * i, 3, "squares") == [0, 1, 4]
    assert processes.from_first("x", {"a": 1}) == {"a": 1}
    processes.agree("x", {})
    processes.finish()
    processes.fail("nothing")
