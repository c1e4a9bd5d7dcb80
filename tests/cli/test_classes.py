"""`qlrjax classes`: renamed, forgotten and taken back, and nothing else disturbed."""

import json
import shutil

import jax
import numpy as np
import pytest
from support.photos import photo

from qlrjax import cli
from qlrjax.runs import lessons, run

TINY = [
    "--data",
    "synthetic:5x3x6",
    "--weights",
    "random:0:0.25",
    "--resolution",
    "32",
    "--latent-layer",
    "25",
    "--replays",
    "24",
    "--bits",
    "7",
    "--no-contrast",
]
IMAGES = np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "tiny"
    assert cli.main(["run", "--out", str(folder), *TINY]) == 0
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def teach(folder, tmp_path, label="mug"):
    for shot in range(6):
        photo(tmp_path / label / f"{shot}.png", seed=shot)
    assert cli.main(["learn", str(folder), str(tmp_path / label), "--label", label]) == 0


def logits(opened):
    return lessons.probabilities(opened.settings, opened.extractor, opened.state, IMAGES)


def leaves(folder):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(run.open_run(folder).state)]


@pytest.mark.slow
def test_a_lesson_is_undone_to_the_bit(folder, tmp_path, capsys):
    before = leaves(folder)
    log = (folder / "events.jsonl").read_text()
    teach(folder, tmp_path)
    assert cli.main(["classes", str(folder)]) == 0
    assert "mug" in capsys.readouterr().out
    assert cli.main(["classes", str(folder), "undo"]) == 0
    assert "undone: the lesson 'mug'" in capsys.readouterr().out
    for one, other in zip(before, leaves(folder), strict=True):
        np.testing.assert_array_equal(one, other)
    assert "mug" not in run.open_run(folder).class_names
    assert (folder / "events.jsonl").read_text().startswith(log)
    assert "lessons" not in json.loads((folder / "summary.json").read_text())
    assert cli.main(["classes", str(folder), "undo"]) == 2
    assert "there is nothing to undo" in capsys.readouterr().err
    teach(folder, tmp_path)  # and it can be learned again
    assert run.open_run(folder).class_names[-1] == "mug"


@pytest.mark.slow
def test_a_renamed_class_keeps_its_answers(folder, tmp_path, capsys):
    before = logits(run.open_run(folder))
    assert cli.main(["classes", str(folder), "rename", "class 1", "[b]Tasse $x$"]) == 0
    opened = run.open_run(folder)
    assert opened.class_names == ("class 0", "[b]Tasse $x$", "class 2", "class 3", "class 4")
    np.testing.assert_array_equal(logits(opened), before)
    # The run goes on under the new name, whatever its data calls the class.
    assert cli.main(["run", "--out", str(folder), "--no-contrast"]) == 0
    assert run.open_run(folder).class_names[1] == "[b]Tasse $x$"
    assert "Tasse" in (folder / "accuracy.csv").read_text().splitlines()[0]
    capsys.readouterr()
    for words, message in (
        (["rename", "class 9", "x"], "there is no class 'class 9'"),
        (["rename", "class 0", "class 2"], "there is a class 'class 2' already"),
        (["rename", "class 0", ""], "is no name"),
        (["rename", "class 0"], "is no change of classes"),
        (["destroy"], "is no change of classes"),
    ):
        assert cli.main(["classes", str(folder), *words]) == 2
        assert message in capsys.readouterr().err
    assert cli.main(["classes", str(folder), "undo"]) == 0
    assert run.open_run(folder).class_names[1] == "class 1"


@pytest.mark.slow
def test_a_forgotten_class_is_gone_and_the_others_are_not_touched(folder, tmp_path):
    teach(folder, tmp_path, "mug")
    teach(folder, tmp_path, "jug")
    before = run.open_run(folder)
    index = before.class_names.index("mug")
    held = int((np.asarray(before.state.learner.memory.labels) == index).sum())
    assert held
    assert cli.main(["classes", str(folder), "forget", "mug"]) == 0
    after = run.open_run(folder)
    assert after.class_names == tuple(name for name in before.class_names if name != "mug")
    # All other classes' shares keep their proportions.
    old, new = np.delete(logits(before), index, axis=1), logits(after)
    np.testing.assert_allclose(new, old / old.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-6)
    was, memory = before.state.learner.memory, after.state.learner.memory
    assert int(memory.filled) == int(was.filled) - held
    kept = np.asarray(was.labels)[: int(was.filled)] != index
    filled = int(memory.filled)
    np.testing.assert_array_equal(
        np.asarray(memory.data)[:filled], np.asarray(was.data)[: int(was.filled)][kept]
    )
    assert not np.asarray(memory.data)[filled:].any()
    labels = np.asarray(was.labels)[: int(was.filled)][kept]
    names = [before.class_names[label] for label in labels]
    assert [after.class_names[label] for label in np.asarray(memory.labels)[:filled]] == names
    teach(folder, tmp_path, "mug")
    assert run.open_run(folder).class_names[-1] == "mug"


@pytest.mark.slow
def test_a_forgotten_class_of_the_stream_keeps_its_place(folder, tmp_path, capsys):
    assert cli.main(["classes", str(folder), "forget", "class 2"]) == 0
    capsys.readouterr()
    assert cli.main(["classes", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[2] == {"name": "class 2", "origin": "stream", "seen": 0, "replays": 0}
    opened = run.open_run(folder)
    assert not logits(opened)[:, 2].any()
    memory = opened.state.learner.memory
    assert 2 not in np.asarray(memory.labels)
    # Taught again, it comes back to the same place.
    teach(folder, tmp_path, "class 2")
    opened = run.open_run(folder)
    assert len(opened.class_names) == 5
    assert logits(opened)[:, 2].any()
    assert cli.main(["run", "--out", str(folder), "--no-contrast"]) == 0


@pytest.mark.slow
def test_changes_survive_in_an_unfinished_run(tmp_path):
    """Steps of checkpoints run ahead of events then, and nothing may depend on their equality."""
    from qlrjax.runs.interrupt import Stop

    folder, stop = tmp_path / "run", Stop()
    from qlrjax.cli.run import parse

    arguments = parse(["--out", str(folder), *TINY])

    def count(record):
        if record["event"] == 2:
            stop._receive(15)

    assert not run.run(arguments.settings, folder, stop=stop, on_event=count).finished
    assert cli.main(["classes", str(folder), "rename", "class 0", "zero"]) == 0
    assert cli.main(["classes", str(folder), "rename", "class 1", "one"]) == 0
    assert cli.main(["run", "--out", str(folder), "--no-contrast"]) == 0
    opened = run.open_run(folder)
    assert opened.class_names[:2] == ("zero", "one")
    assert len(opened.records) == 9 + 2
    assert opened.facts.before is None
