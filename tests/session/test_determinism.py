"""Same settings, same bytes: across processes, and what 1 or 2 threads change.

Within one machine and one jax, two processes agree bit for bit in everything. A process that is
held to one core agrees in all integers (frozen stage, replay memory, labels, order of samples);
its FP32 parameters may differ in their last digits, since XLA splits sums by the number of threads.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import os, sys, json, hashlib
if sys.argv[1] != "all":
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
import jax, numpy as np
from qlrjax import session
from qlrjax.settings import Settings
from qlrjax.streams.settings import StreamSettings
from qlrjax.training.protocol import Protocol

settings = Settings(
    latent_layer=26, replays=30, bits=7, weights="random:5:0.25", resolution=32, seed=3,
    calibration_images=16, evaluate_every=3,
    stream=StreamSettings(data="builtin", train_per_class=4, test_per_class=2, sessions=2,
                          first_classes=2, pairs_per_event=6),
    protocol=Protocol(minibatch=16, first_epochs=2, epochs=2),
)
work = session.prepare(settings)
state = session.start(work)
for state, record in session.learn_all(work, state):
    pass
leaves = {jax.tree_util.keystr(path): np.asarray(leaf)
          for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
digest = {name: hashlib.sha256(leaf.tobytes()).hexdigest() for name, leaf in leaves.items()}
digest["test latents"] = hashlib.sha256(np.asarray(work.test_latents).tobytes()).hexdigest()
weight = np.concatenate([leaf.ravel() for name, leaf in leaves.items()
                         if ".params" in name]).astype(float)
print(json.dumps({"digest": digest, "params": weight[:: max(len(weight) // 500, 1)].tolist()}))
"""


def start(cores, folder):
    source = Path(__file__).resolve().parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{source / 'src'}{os.pathsep}{source / 'hw'}",
        "JAX_PLATFORMS": "cpu",
    }
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, cores],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
    )


def result(process):
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-2000:]
    return json.loads(out.splitlines()[-1])


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cannot choose cores here")
def test_two_processes_agree_and_one_core_agrees_in_integers(tmp_path):
    processes = [start(cores, tmp_path) for cores in ("all", "all", "one")]
    first, second, single = map(result, processes)
    assert first == second
    floats = (".training", ".head.", ".accuracy")
    integers = [name for name in first["digest"] if not any(part in name for part in floats)]
    assert len(integers) >= 6
    assert "test latents" in integers
    assert any(".memory.data" in name for name in integers)
    for name in integers:
        assert single["digest"][name] == first["digest"][name], name
    ours, theirs = np.array(first["params"]), np.array(single["params"])
    assert np.linalg.norm(ours - theirs) <= 1e-4 * np.linalg.norm(ours)
