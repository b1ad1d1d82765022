"""The private corner of JAX: where it is like what is needed, and what is said where it is not."""

import types

import jax
import pytest

from vaeaudit.core.coordination import NEEDED, coordination_client
from vaeaudit.core.errors import ProcessError


def test_the_real_client_has_what_is_used():
    from jax._src.lib import _jax

    assert len(NEEDED) == 5
    assert not [name for name in NEEDED if not hasattr(_jax.DistributedRuntimeClient, name)]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (None, "no attribute 'global_state'"),
        (types.SimpleNamespace(), "no attribute 'client'"),
        (types.SimpleNamespace(client=None), "left no client"),
        (
            types.SimpleNamespace(client=types.SimpleNamespace(**dict.fromkeys(NEEDED[1:], print))),
            "its client has no key_value_set",
        ),
    ],
)
def test_another_jax_is_named(monkeypatch, state, words):
    from jax._src import distributed

    if state is None:
        monkeypatch.delattr(distributed, "global_state")
    else:
        monkeypatch.setattr(distributed, "global_state", state)
    with pytest.raises(ProcessError, match=r"JAX 0\.10 to 0\.12") as caught:
        coordination_client()
    assert words in str(caught.value)
    assert f"JAX {jax.__version__} is not like them" in str(caught.value)
    assert "run without --distributed" in str(caught.value)


def test_nothing_else_in_the_package_knows_it():
    """`backends_are_initialized` (in devices.py) is the only other name without a public one."""
    import pathlib

    import vaeaudit

    root = pathlib.Path(vaeaudit.__file__).parent
    private = {path.name for path in root.rglob("*.py") if "jax._src" in path.read_text(encoding="utf-8")}
    assert private <= {"coordination.py", "devices.py"}
