"""A short real session killed and resumed; `make chaos` does it fifty times at random moments."""

import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from qlrjax import runfolder
from tests.chaos import harness


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    place = tmp_path_factory.mktemp("chaos")
    harness.finish(place / "reference", place / "cache")
    return place / "cache", harness.read_end(place / "reference")


@pytest.mark.slow
@pytest.mark.parametrize(("step", "delay"), [(1, 0.0), (5, 0.02)])
def test_a_session_killed_while_it_saves_ends_as_if_it_had_not_been(
    reference, tmp_path, step, delay
):
    cache, end = reference
    folder = tmp_path / "run"
    process = harness.start(folder, cache)
    assert harness.wait_for_save(process, folder, step)
    assert harness.kill(process, delay)
    harness.check_stopped(folder, end)
    harness.finish(folder, cache)
    assert harness.read_end(folder).differences(end) == []


@pytest.mark.slow
def test_a_session_asked_to_stop_saves_says_how_to_go_on_and_ends_the_same(reference, tmp_path):
    cache, end = reference
    folder = tmp_path / "run"
    process = harness.start(folder, cache)
    assert harness.wait_for_save(process, folder, 2)
    with pytest.raises(runfolder.FolderBusy):
        runfolder.lock(folder).__enter__()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 143
    assert "SIGTERM: finishing the event and saving" in errors
    assert "go on with the same command" in " ".join(errors.split())
    assert harness.check_stopped(folder, end) == "between saves"
    harness.finish(folder, cache)
    assert harness.read_end(folder).differences(end) == []
