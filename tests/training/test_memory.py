"""Parts that fit the memory, and lower precision where it is asked for."""

import functools

import jax
import numpy as np
import pytest

import vaeaudit as va
from vaeaudit.core.errors import ArgumentError
from vaeaudit.training import driver, memory

BUILD = functools.partial(va.mlp_vae, event_shape=(8, 8), latent_dim=2, hidden=(16,))


@pytest.fixture(scope="module")
def data():
    return va.load_data("digits").train[:512]


def sweep(data, **options):
    return va.sweep(BUILD, ["elbo", "beta(2)"], data, seeds=range(5), epochs=2, num_devices=2, **options)


def test_a_group_beyond_the_memory_is_trained_in_parts(data, monkeypatch):
    parts = []
    original = driver._run
    monkeypatch.setattr(driver, "_run", lambda job, *rest: parts.append(job) or original(job, *rest))
    whole = sweep(data, mode="vmap")
    assert len(parts) == 1
    size = memory.program_bytes(driver._COMPILED[next(reversed(driver._COMPILED))])
    assert size > data.nbytes
    for limit, count in ((int(size / memory.SHARE) + 1, 1), (size // 2, 3), (1, 5)):
        parts.clear()
        monkeypatch.setattr(memory, "LIMIT", limit)
        split = sweep(data, mode="vmap")
        assert len(parts) == count, limit
        assert len({len(job.group.members) for job in parts}) == 1, "one program for all parts"
        assert [job.info["num_groups"] for job in parts] == [count] * count
        assert split.settings.equals(whole.settings)
        for a, b in zip(jax.tree.leaves(split.models), jax.tree.leaves(whole.models), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)
    parts.clear()
    sweep(data, mode="map")  # one after another: the limit does not matter
    assert len(parts) == 1


def test_devices_that_report_their_memory():
    class Device:
        platform = "gpu"

        def memory_stats(self):
            return {"bytes_limit": 1000, "bytes_in_use": 300}

    assert memory.free_bytes(Device()) == 700
    assert memory.free_bytes(jax.local_devices()[0]) is None  # a CPU pages; it is not asked


def test_bfloat16_factors_change_little_and_something(data):
    """Rounding to 8 bits moves weights by about 2⁻⁹ of a step; float32 stays to the bit."""
    full, short, again = sweep(data), sweep(data, precision="bfloat16"), sweep(data, precision="float32")
    pairs = list(zip(jax.tree.leaves(full.models), jax.tree.leaves(short.models), strict=True))
    largest = max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)
    assert 1e-6 < largest < 0.01
    np.testing.assert_allclose(short.history["elbo"], full.history["elbo"], rtol=2e-3)
    assert full.history.equals(again.history)
    with pytest.raises(ArgumentError, match="precision"):
        sweep(data, precision="half")


def test_bfloat16_for_convolutions(data):
    build = functools.partial(va.conv_vae, event_shape=(8, 8), latent_dim=2, channels=(2,))
    result = va.sweep(build, ["elbo"], data[:128], seeds=[0], epochs=1, precision="bfloat16")
    assert np.isfinite(result.history["elbo"]).all()
