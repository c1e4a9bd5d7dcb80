"""What jaxlib hands to YNNPACK, and that a training step is right with it and without.

jaxlib 0.10.2 fuses products and reductions for YNNPACK on its own (its list of flags says that none
are on). One such fusion is wrong: a product whose result is reduced in the same fusion, where its
rows do not fill the last tile (jax issue 39103). Our programs are right with it, which this holds
at full width, and the reductions make a training step at l = 25 half again as fast; so that no flag
is set. `--xla_cpu_experimental_ynn_fusion_type=-reduce` is what makes the reported case right.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAG = "--xla_cpu_experimental_ynn_fusion_type="


def measured(flags):
    path = os.pathsep.join(str(ROOT / name) for name in ("src", "hw", "tests"))
    done = subprocess.run(
        [sys.executable, "-m", "support.fused"],
        env=os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
@pytest.mark.parametrize("flags", ["", FLAG, f"{FLAG}-reduce"], ids=["default", "none", "-reduce"])
def test_a_step_at_full_width_is_float64s(flags):
    found = measured(flags)
    assert len(found["step"]) == 9  # loss, logits, head, and three tensors of both layers
    for way in ("step", "with kernels"):
        assert max(found.get(way, [0.0])) < 1e-5, found
    if flags:  # by default, jaxlib 0.10.2 gets the last row wrong
        assert found["wrong rows"] == 0
