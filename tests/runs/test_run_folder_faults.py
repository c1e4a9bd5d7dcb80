"""A run's folder in trouble: its frozen stage damaged, its data exchanged, its folder busy."""

import pytest

from qlrjax.runs import checkpoint, run, runfolder
from qlrjax.runs.interrupt import Stop
from qlrjax.settings import Settings
from qlrjax.streams.settings import StreamSettings

# The shapes of test_cli, so that compiled programs are shared.
SETTINGS = Settings(
    latent_layer=25,
    replays=24,
    bits=7,
    weights="random:0:0.25",
    resolution=32,
    stream=StreamSettings(data="synthetic:5x3x6"),
)


def learn(folder, events):
    """Learns some events and stops, as after a signal."""
    stop = Stop()

    def count(record):
        if record["event"] + 1 >= events:
            stop._receive(15)

    return run.run(SETTINGS, folder, stop=stop, on_event=count)


@pytest.mark.long
def test_a_run_survives_the_loss_of_everything_but_one_checkpoint(tmp_path):
    straight = run.run(SETTINGS, tmp_path / "straight")
    folder = tmp_path / "run"
    assert not learn(folder, 2).finished
    stage = (folder / run.STAGE).read_bytes()
    (folder / run.STAGE).write_bytes(stage[:100])
    (folder / run.EVENTS).write_text('{"event": 0}\n{"event": 0}\n{"ev')
    (folder / "timing.jsonl").unlink()
    (folder / run.CHECKPOINTS / "00000002/manifest.json").unlink()
    resumed = run.run(SETTINGS, folder)
    assert resumed.finished
    assert "00000002 is damaged" in resumed.notes[0]
    assert (folder / run.STAGE).read_bytes() == stage
    assert resumed.records == straight.records
    for name in (run.EVENTS, "accuracy.csv", "summary.json"):
        assert (folder / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    digests = [
        checkpoint.peek(place / run.CHECKPOINTS).leaves for place in (folder, tmp_path / "straight")
    ]
    assert digests[0] == digests[1]
    # Without its data, a run cannot mend its stage.
    (folder / run.STAGE).unlink()
    with pytest.raises(ValueError, match=r"frozen\.npz is missing"):
        run.open_run(folder)


def test_nothing_is_left_in_a_folder_that_holds_no_run(tmp_path):
    with pytest.raises(ValueError, match="holds no run with a checkpoint"), run.editing(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_busy_folder_is_refused(tmp_path):
    with runfolder.lock(tmp_path), pytest.raises(runfolder.FolderBusy):
        run.run(SETTINGS, tmp_path)
