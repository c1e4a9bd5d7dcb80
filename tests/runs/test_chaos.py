"""A short real session killed, stopped and resumed; `make chaos` does it fifty times."""

import signal

import pytest
from chaos import harness

from qlrjax.runs import runfolder


@pytest.mark.long
def test_a_session_killed_while_it_saves_and_asked_to_stop_ends_as_if_nothing_had_been(tmp_path):
    folder, cache = tmp_path / "run", tmp_path / "cache"
    process = harness.start(folder, cache)
    assert harness.wait_for_save(process, folder, 2)
    with pytest.raises(runfolder.FolderBusy):
        runfolder.lock(folder).__enter__()
    assert harness.kill(process, 0.01)

    killed = harness.stopped(folder)
    process = harness.start(folder, cache)
    assert harness.wait_for_save(process, folder, 5)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 143
    assert "SIGTERM: finishing the event and saving" in errors
    assert "go on with: qlrjax run --out" in " ".join(errors.split())

    asked = harness.stopped(folder)
    harness.finish(folder, cache)
    harness.finish(tmp_path / "reference", cache)
    end = harness.read_end(tmp_path / "reference")
    assert harness.read_end(folder).differences(end) == []
    killed.check(end)
    asked.check(end)
    assert 4 <= asked.steps[-1] < 9
    assert asked.where == "between saves"
