"""The kernel over four devices equals one device; each case in a process of its own."""

import json
import os
import subprocess
import sys

import numpy as np

SCRIPT = """
import json, resource, sys
import jax, numpy as np
import vaeaudit as va
from vaeaudit.estimators.mixture_density import log_mixture_density
from vaeaudit.estimators.mixture_kernel_devices import Layout

rng = np.random.default_rng(0)
loc, scale = rng.normal(size=(1237, 5)) * 0.9, rng.uniform(0.2, 0.9, (1237, 5))
own = rng.integers(1237, size=1111)  # divisible by no tile and no number of devices
noise = rng.normal(size=(1111, 5))
z = loc[own] + scale[own] * noise
out = {"devices": jax.device_count(), "used": Layout().num_devices}
for method in ("direct", "product", "float64"):
    found = log_mixture_density(z, loc, scale, own=own, noise=noise, marginals=True, method=method)
    for name in ("log_q", "log_q_others", "log_marginals", "log_marginals_others"):
        values = getattr(found, name)
        out[f"{method} {name}"] = (values if values.ndim == 1 else values.sum(axis=1)).tolist()
result = va.aggregate_posterior((loc, scale), rng_key=1, fits="moments")
out |= {name: list(value.interval) for name, value in result.quantities().items() if name != "rate"}
distances = va.aggregate_distances((loc, scale), rng_key=1)
out["distances"] = [distances.squared_mmd.value, *distances.wasserstein.interval]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = 40_000  # all pairs at once would take 6.4 GB in float32
log_mixture_density(np.zeros((rows, 2)), rng.normal(size=(rows, 2)), np.ones((rows, 2)), method="direct")
out["growth_mb"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(json.dumps(out))
"""


def run(devices):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("XLA_")}
    flags = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**kept, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_four_devices_equal_one_and_memory_stays_bounded():
    one, four = run(1), run(4)
    assert (one.pop("devices"), four.pop("devices")) == (1, 4)
    assert (one.pop("used"), four.pop("used")) == (1, 4)
    for growth in (one.pop("growth_mb"), four.pop("growth_mb")):
        assert growth < 400
    assert one.keys() == four.keys()
    for name, value in one.items():
        np.testing.assert_allclose(four[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
