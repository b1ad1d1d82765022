"""Which process this is: options, launchers, and mistakes that must not end in a hang."""

import pytest

from vaeaudit.core.cluster import find_place, split_address
from vaeaudit.core.errors import ProcessError

SLURM = {
    "SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n[1-4]", "SLURM_NTASKS": "4", "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
}  # fmt: skip
MPI = {"PMI_SIZE": "3", "PMI_RANK": "1"}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "1"}
URI = {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://10.0.0.1:1"}


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        (("a:1", 2, 1), {}, ("a:1", 2, 1)),
        ((None, None, None), SLURM, (None, 4, 2)),
        (("a:1", 4, None), SLURM, ("a:1", 4, 2)),
        (("a:1", None, None), MPI, ("a:1", 3, 1)),
        ((None, None, None), OPEN_MPI | URI, (None, 3, 1)),
        ((None, None, None), OPEN_MPI | {"JAX_COORDINATOR_ADDRESS": "[::1]:9"}, ("[::1]:9", 3, 1)),
    ],
)
def test_options_and_launchers(given, environment, expected):
    place = find_place(*given, environment=environment)
    assert (place.coordinator, place.num_processes, place.process_id) == expected


@pytest.mark.parametrize(
    ("given", "environment", "words"),
    [
        ((None, None, None), {}, "needs --coordinator, --num-processes, --process-id"),
        (("a:1", 2, None), {}, "needs --process-id"),
        ((None, None, None), MPI, "needs --coordinator"),
        ((None, None, None), {"SLURM_JOB_ID": "7"}, "start it with `srun`"),
        ((None, 8, None), SLURM, "--num-processes 8 contradicts Slurm, which says 4"),
        (("a:1", None, 0), OPEN_MPI, "--process-id 0 contradicts Open MPI, which says 1"),
        (("a:1", 2, 2), {}, "got process 2 of 2"),
        (("a", 2, 0), {}, "must be HOST:PORT"),
        (("a:0", 2, 0), {}, "must be HOST:PORT"),
        (("a:99999", 2, 0), {}, "must be HOST:PORT"),
    ],
)
def test_mistakes_are_named(given, environment, words):
    with pytest.raises(ProcessError, match=words.replace("(", r"\(")):
        find_place(*given, environment=environment)


def test_addresses():
    assert split_address("node01:5679") == ("node01", 5679)
    assert split_address("[fe80::1]:80") == ("fe80::1", 80)
