"""No state that is poisoned is saved, imported, gone on with or asked."""

import dataclasses
import json
import warnings

import numpy as np
import pytest
from support import crafted, tiny

from qlrjax import cli
from qlrjax.runs import checkpoint, opened, sound


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "run.npz"
    assert cli.main(["export", str(finished), "--format", "state", "--out", str(path)]) == 0
    return path


def whole(array, value):
    return np.full_like(array, value)


HEAD, MEMORY = "learner/training/params/head", "learner/memory"
POISON = {
    "nan head": (HEAD, lambda a: whole(a, np.nan), "is not finite"),
    "one infinite weight": (HEAD, lambda a: np.where(np.arange(a.shape[1]) == 1, np.inf, a), "not"),
    "position behind the stream": ("position", lambda a: whole(a, 10), "stands at event 10 of 9"),
    "position before it": ("position", lambda a: whole(a, -1), "stands at event -1"),
    "events unlearned": ("learner/event", lambda a: whole(a, 3), "has learned 3 events"),
    "too full": (f"{MEMORY}/filled", lambda a: whole(a, 25), "25 of 24 replays"),
    "less than empty": (f"{MEMORY}/filled", lambda a: whole(a, -1), "-1 of 24 replays"),
    "labels of nothing": (f"{MEMORY}/labels", lambda a: whole(a, 99), "of none of the 5 classes"),
    "free but filled": (f"{MEMORY}/labels", lambda a: whole(a, -1), "of none of the 5 classes"),
    "introduced never": ("introduced", lambda a: whole(a, 2**30), "none of the 9 events"),
    "accuracy of 200 %": ("accuracy", lambda a: whole(a, 2.0), "is no share of 1"),
}


@pytest.mark.parametrize("kind", POISON)
def test_poisoned_states_are_not_imported_and_leave_no_folder(exported, tmp_path, refused, kind):
    name, change, said = POISON[kind]
    export = crafted.Export(exported)
    export.arrays[name] = change(export.arrays[name]).astype(export.arrays[name].dtype)
    path = export.write(tmp_path / "x.npz")
    assert said in refused("import", path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_momentum_and_statistics_count_too(exported, tmp_path, refused):
    floats = [n for n, a in crafted.Export(exported).arrays.items() if a.dtype.kind == "f"]
    assert len(floats) > 10
    for name in floats:
        export = crafted.Export(exported)
        flat = export.arrays[name].reshape(-1)
        if name == "accuracy" or not flat.size:
            continue
        flat[-1] = -np.inf
        assert "is not finite" in refused(
            "import", export.write(tmp_path / "x.npz"), tmp_path / "run"
        )


def test_weights_that_are_finite_but_overflow_are_not_believed(exported, tmp_path, refused):
    export = crafted.Export(exported)
    export.arrays[HEAD] = whole(export.arrays[HEAD], np.finfo(np.float32).min)
    run = tmp_path / "run"
    assert cli.main(["import", str(export.write(tmp_path / "x.npz")), str(run)]) == 0
    photos = tiny.photos(tmp_path / "photos")
    assert "is not finite" in refused("predict", run, photos)


def poison(folder):
    """A checkpoint that holds NaN, as versions before this one saved them."""
    described = checkpoint.peek(folder / "checkpoints")
    run = opened.open_run(folder)
    training = run.state.learner.training
    head = training.params["head"] * np.float32("nan")
    training = dataclasses.replace(training, params={**training.params, "head": head})
    learner = dataclasses.replace(run.state.learner, training=training)
    state = dataclasses.replace(run.state, learner=learner)
    checkpoint.save(
        folder / "checkpoints",
        described.step + 1,
        state,
        described.settings,
        run.records,
        described.extra,
    )


def test_a_poisoned_checkpoint_is_neither_asked_nor_gone_on_with(folder, tmp_path, refused):
    poison(folder)
    photos = tiny.photos(tmp_path / "photos")
    for words in (
        ("predict", folder, photos),
        ("learn", folder, photos, "--label", "mug"),
        ("classes", folder),
        ("export", folder, "--format", "npz", "--out", tmp_path / "x.npz"),
        ("run", "--out", folder, "--no-contrast"),
    ):
        assert "the checkpoint 10 in" in refused(*words)
    assert checkpoint.steps(folder / "checkpoints")[-1] == 10


@pytest.mark.slow
def test_an_event_that_diverges_is_not_saved_and_the_last_good_one_is_named(tmp_path, refused):
    """The loss of the last mini-batch can be finite when what it leaves behind is not."""
    run = tmp_path / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said = refused("run", "--out", run, *tiny.WORDS, "--learning-rate", "1e20")
    assert "this event is not saved" in said
    steps = checkpoint.steps(run / "checkpoints")
    assert f"the last good checkpoint is {steps[-1]}" in said if steps else "nothing was saved"
    for line in (run / "events.jsonl").read_text().splitlines():
        json.loads(line)
    if steps:
        sound.check(opened.open_run(run).state, "what was saved")
