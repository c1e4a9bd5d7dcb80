"""Several devices give what one gives: codes bit for bit, what is learned within rounding."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from qlrjax import devices
from qlrjax.runs import run
from qlrjax.settings import Settings

# Eleven events of FP32 sums that are split in another way; measured: 2e-6.
TOLERANCE = 2e-5


def test_more_devices_than_there_are_are_refused_before_a_folder_is_made(tmp_path):
    there = len(jax.devices())
    with pytest.raises(ValueError, match=rf"99 devices are asked for and JAX has {there} \("):
        run.run(dataclasses.replace(Settings(), devices=99), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="devices is 0; it must be at least 1"):
        Settings(devices=0)


def test_one_device_has_no_mesh_and_arrays_pass_as_they_are():
    assert devices.mesh(1) is None
    assert devices.missing(None, 7) == 0
    tree = {"one": np.zeros(3)}
    for same in (devices.on_each, devices.keep_shared, devices.keep_on_each):
        assert same(None, tree) is tree


@pytest.mark.long
def test_four_devices_learn_what_one_learns(tmp_path):
    own = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    words = [sys.executable, "-m", "support.four_devices", str(tmp_path / "run")]
    tests = Path(__file__).resolve().parents[1]
    path = os.pathsep.join([str(tests), own.get("PYTHONPATH", "")])
    done = subprocess.run(
        words,
        env=own | {"PYTHONPATH": path, "QLRJAX_FROZEN": "jax"},
        cwd=tests.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["devices"] == 4
    for count in (3, 4):
        assert facts["frozen"][f"codes {count}"] is True
        assert facts["frozen"][f"floats {count}"] == 0  # the same program on fewer images
    assert set(facts["learned"]) == {"divided", "with empty places"}
    for case, differences in facts["learned"].items():
        for name in ("losses", "params", "logits"):
            assert 0 < differences[name] < TOLERANCE, (case, name)
        assert differences["memory"] == 0, case
    assert facts["split"] == {"1": False, "4": True}
    resumed = facts["resumed"]
    assert (resumed["begun"], resumed["ended"]) == (False, True)
    (note,) = resumed["notes"]
    assert "device was 4 x cpu" in note
