"""How threads wait for each other, which has to be set before torch is imported."""

import os
import subprocess
import sys

import pytest

from audio_lightning.cores import SPINS

IMPORT = """
import os, sys
import audio_lightning
assert "torch" not in sys.modules
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("set_by_user", "found"),
    [({}, str(SPINS)), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_importing_the_package_sets_it_unless_the_user_did(set_by_user: dict[str, str], found: str) -> None:
    plain = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    output = subprocess.check_output([sys.executable, "-c", IMPORT], env={**plain, **set_by_user}, text=True)
    assert output.strip() == found
