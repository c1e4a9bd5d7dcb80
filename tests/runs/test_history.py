"""History of a run: what replay memory held and what was confused, event by event."""

import dataclasses
import json

import numpy as np
import pytest

from qlrjax import session
from qlrjax.runs import history, run
from qlrjax.settings import Settings
from qlrjax.streams.settings import StreamSettings
from qlrjax.training.protocol import Protocol

BASE = Settings(
    latent_layer=25,
    replays=12,
    weights="random:1:0.25",
    resolution=32,
    calibration_images=12,
    evaluate_every=3,
    stream=StreamSettings(data="synthetic:3x4x6", first_classes=2),
    protocol=Protocol(minibatch=8),
)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, run.run(BASE, folder)


def test_every_event_has_a_line_that_agrees_with_the_learner(learned):
    folder, outcome = learned
    moments = history.read(folder)
    assert sorted(moments) == list(range(8))
    labels = np.asarray(outcome.state.learner.memory.labels)
    assert list(moments[7].replays) == [int((labels == label).sum()) for label in range(3)]
    assert [event for event, moment in moments.items() if moment.confusion] == [2, 5, 7]
    matrix = np.zeros((3, 3), int)
    for true, predicted, count in moments[7].confusion:
        matrix[true, predicted] = count
    counts = np.bincount(outcome.session.test_labels)
    np.testing.assert_array_equal(matrix.sum(axis=1), counts)
    np.testing.assert_allclose(np.diag(matrix) / counts, np.asarray(outcome.state.accuracy)[7])


def test_the_log_and_the_checkpoints_do_not_hold_it(learned):
    folder, outcome = learned
    assert all("confusion" not in record for record in outcome.records)
    assert "confusion" not in (folder / "events.jsonl").read_text()
    for manifest in folder.glob("checkpoints/*/*.json"):
        assert "confusion" not in manifest.read_text()


def test_an_event_that_was_learned_again_counts_once(learned, tmp_path):
    folder, _ = learned
    text = (folder / "history.jsonl").read_text()
    again = json.loads(text.splitlines()[3]) | {"replays": [1, 2, 3]}
    broken = '{"event": 2}\n[]\n{"event": -1, "replays": [], "confusion": []}\n{"event": 4, "rep'
    (tmp_path / "history.jsonl").write_text(text + json.dumps(again) + "\n" + broken)
    moments = history.read(tmp_path)
    assert moments[3].replays == (1, 2, 3)
    assert {event: moment for event, moment in moments.items() if event != 3} == {
        event: moment for event, moment in history.read(folder).items() if event != 3
    }


def test_a_run_from_before_has_none(tmp_path):
    assert history.read(tmp_path) == {}


def test_fresh_removes_it(learned, tmp_path):
    small = dataclasses.replace(BASE, replays=0, evaluate_every=9)
    run.run(small, tmp_path)
    run.run(small, tmp_path, fresh=True)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 8


def test_confusion_of_a_few():
    predicted = np.asarray([0, 2, 2, 1], np.int32)
    labels = np.asarray([0, 0, 0, 1], np.int32)
    assert session.confusion(predicted, labels) == [[0, 0, 1], [0, 2, 2], [1, 1, 1]]
