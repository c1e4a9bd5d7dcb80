"""TensorBoard's files read back: every event once, standard names, values of the summary."""

import json
import struct

import pytest

from qlrjax import cli
from qlrjax.cli import show

proto = pytest.importorskip("tensorboardX.proto.event_pb2", reason="tensorboardX is an extra")
WORDS = [
    *("--weights", "random:1:0.25", "--resolution", "32", "--calibration-images", "12"),
    *("--data", "synthetic:3x4x6", "--minibatch", "8", "--replays", "12"),
    *("--no-contrast", "--tensorboard", "--evaluate-every", "3"),
]


def scalars(folder):
    """Tag to {step: value}; the container is a length, its checksum, the data, its checksum."""
    found = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack_from("<Q", data)
            event = proto.Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            for value in event.summary.value:
                steps = found.setdefault(value.tag, {})
                assert event.step not in steps
                steps[event.step] = value.simple_value
    return found


@pytest.mark.long
def test_every_event_is_there_once_under_standard_names(tmp_path):
    folder = tmp_path / "run"
    assert cli.main(["run", "--out", str(folder), *WORDS]) == 0
    first = scalars(folder)
    summary = json.loads((folder / "summary.json").read_text())
    assert list(first["loss/last_minibatch"]) == list(range(1, 9))
    assert list(first["ACC"]) == list(first["FWT"]) == [3, 6, 8]
    names = {"BWT": "BWT_points", "FWT": "FWT_points", "LA": "LA_percent", "ACC": "ACC_percent"}
    for tag, key in names.items():
        assert first[tag][8] == pytest.approx(summary[key], abs=1e-3)
    assert first["forgetting"][8] == pytest.approx(summary["forgetting_points"], abs=1e-3)
    assert first["replay/RAM_MB"][8] == pytest.approx(summary["replay_bytes"] / 1e6)
    # Once more on the finished run: the same, and nothing twice; --fresh takes it for the run's.
    assert cli.main(["run", "--out", str(folder), "--no-contrast", "--tensorboard"]) == 0
    assert scalars(folder) == first
    assert cli.main(["run", "--out", str(folder), *WORDS, "--fresh"]) == 0
    assert scalars(folder) == first


def test_without_the_package_one_sentence_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    assert cli.main(["run", "--out", str(tmp_path / "run"), *WORDS]) == 2
    assert "pip install 'qlrjax[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_bar_says_accuracy_and_throughput():
    now = [0.0]
    pace = show.Pace(lambda: now[0])
    assert pace.text({"images": 100}, "accuracy 50.0 %") == "accuracy 50.0 %"  # from the log
    now[0] = 2.0
    assert pace.text({"images": 100}, "") == "accuracy 50.0 %, 50 images/s"
