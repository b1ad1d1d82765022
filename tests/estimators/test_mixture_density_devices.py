"""The kernel over four devices equals one device; in a process of its own, as JAX's backend starts once."""

import json
import os
import subprocess
import sys

import numpy as np

SCRIPT = """
import json, resource
from unittest import mock
import jax, numpy as np
import vaeaudit as va
from vaeaudit.estimators.mixture_density import log_mixture_density
from vaeaudit.estimators.mixture_kernel_devices import Layout

rng = np.random.default_rng(0)
loc, scale = rng.normal(size=(1237, 5)) * 0.9, rng.uniform(0.2, 0.9, (1237, 5))
own = rng.integers(1237, size=1111)  # divisible by no tile and no number of devices
noise = rng.normal(size=(1111, 5))
z = loc[own] + scale[own] * noise


def everything():
    out = {"used": Layout().num_devices}
    for method in ("direct", "float64"):
        marginals = method == "direct"
        found = log_mixture_density(z, loc, scale, own=own, noise=noise, marginals=marginals, method=method)
        out[f"{method} log_q"], out[f"{method} others"] = found.log_q.tolist(), found.log_q_others.tolist()
        if marginals:
            out["marginals"] = found.log_marginals.sum(1).tolist()
    result = va.aggregate_posterior((loc, scale), rng_key=1, num_samples=1, fits="moments")
    return out | {name: list(value.interval) for name, value in result.quantities().items() if name != "rate"}


four = everything()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = 20_000  # all pairs at once would take 1.6 GB
log_mixture_density(np.zeros((rows, 2)), rng.normal(size=(rows, 2)), np.ones((rows, 2)), method="direct")
four["growth_mb"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
with mock.patch("jax.local_devices", lambda: jax.devices()[:1]):
    one = everything()
print(json.dumps({"devices": jax.device_count(), "one": one, "four": four}))
"""


def test_four_devices_equal_one_and_memory_stays_bounded():
    kept = {k: v for k, v in os.environ.items() if not k.startswith("XLA_")}
    environment = {**kept, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    one, four = found["one"], found["four"]
    assert (found["devices"], one.pop("used"), four.pop("used")) == (4, 1, 4)
    assert four.pop("growth_mb") < 300
    assert one.keys() == four.keys()
    for name, value in one.items():
        assert len(value) >= 2
        np.testing.assert_allclose(four[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
