"""Runs that were begun before strategies had a state of their own go on, bit by bit as then.

`data/runs_before_strategies.zip` holds two runs of commit 17a2fff, stopped after event 4 of 5, and
where that commit ended them: synthetic images, width 0.25, l = 27, six replays of 7 bits.
"""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from qlrjax import settings as settings_file
from qlrjax.runs import run, upgrade

ARCHIVE = Path(__file__).resolve().parents[1] / "data" / "runs_before_strategies.zip"


@pytest.mark.parametrize("name", ["cwr", "plain"])
def test_an_old_run_goes_on_to_where_it_ended_then(name, tmp_path):
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / name
    (tmp_path / "frozen.npz").rename(folder / "frozen.npz")
    opened = run.open_run(folder)
    assert int(opened.state.learner.event) == 4
    own = run.own_settings(folder)
    assert own is not None
    assert own.protocol.center_momentum == 0  # features were not centered then
    outcome = run.run(own, folder)
    assert outcome.finished
    state = outcome.state.learner
    with np.load(tmp_path / f"{name}_end.npz") as end:
        np.testing.assert_array_equal(state.memory.data, end["data"])
        np.testing.assert_array_equal(state.memory.labels, end["labels"])
        kept = state.training.kept.head
        np.testing.assert_array_equal(kept.past, end["past"])
        # Another processor sums in another order.
        np.testing.assert_allclose(state.training.params["head"], end["head"], rtol=2e-4, atol=1e-6)
        if name == "cwr":
            np.testing.assert_allclose(kept.weight, end["weight"], rtol=2e-4, atol=1e-6)
    # What is saved now is read again without any renaming.
    assert int(run.open_run(folder).state.learner.event) == 5


def test_paths_that_moved_and_what_nothing_read():
    old = {
        "learner/head/past": 1,
        "learner/head/weight": 2,
        "learner/memory/labels": 3,
        "learner/training/synapses/path/a/weight": 4,
        "learner/training/params/head": 5,
    }
    kept = "learner/training/kept"
    synapses = f"{kept}/synapses/path/a/weight"
    same = {"learner/memory/labels": 3, "learner/training/params/head": 5, synapses: 4}
    wanted = [f"{kept}/head/past", f"{kept}/head/weight"]
    assert upgrade.leaves(old, wanted) == same | {wanted[0]: 1, wanted[1]: 2}
    assert upgrade.leaves(old, wanted[:1]) == same | {wanted[0]: 1}


def test_settings_that_are_new_are_named_only_at_their_defaults():
    settings = settings_file.Settings()
    saved = settings_file.to_dict(settings)
    del saved["protocol"]["admission"], saved["protocol"]["head_rate"]
    assert upgrade.newer_settings(saved, settings) == ("protocol.admission", "protocol.head_rate")
    del saved["protocol"]["center_momentum"]  # its default is not what there was before
    assert "protocol.center_momentum" not in upgrade.newer_settings(saved, settings)
    as_then = settings_file.from_dict({"protocol": {"center_momentum": 0.0}})
    assert "protocol.center_momentum" in upgrade.newer_settings(saved, as_then)
    changed = settings_file.from_dict({"protocol": {"admission": "reservoir"}})
    assert upgrade.newer_settings(saved, changed) == ("protocol.head_rate",)
