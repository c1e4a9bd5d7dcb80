"""Sweeps end to end with real worker processes: killed, stopped, gone on with, the same table."""

import csv
import os
import signal

import pytest

from qlrjax import cli
from qlrjax.lab import learned, pool, sweep, sweepfile, table
from qlrjax.runs import interrupt

pytestmark = pytest.mark.long

TEXT = """
title = "tiny"
seeds = 1
[settings]
latent_layer = 25
weights = "random:1:0.25"
resolution = 32
calibration_images = 12
[settings.stream]
data = "synthetic:3x4x6"
[settings.protocol]
minibatch = 8
[grid]
replays = [8, 12]
bits = [8, 5]
"""


def learn(wanted, folder, on_news=None, workers=2, stop=None):
    news = []

    def hear(one, now):
        news.append(one)
        if on_news:
            on_news(one)

    now = sweep.run(wanted, folder, sweep.local(workers), hear, stop)
    return now, news


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A finished sweep, and what was said meanwhile."""
    folder = tmp_path_factory.mktemp("undisturbed")
    now, news = learn(sweepfile.parse(TEXT), folder)
    assert not now.failed
    assert not now.missing
    return folder, news


@pytest.mark.slow
def test_every_session_is_a_row_with_all_its_settings(undisturbed):
    folder, news = undisturbed
    tasks = sweepfile.parse(TEXT).tasks
    rows = table.read(folder)
    assert [row["task"] for row in rows] == [task.id for task in tasks]
    for row, task in zip(rows, tasks, strict=True):
        assert row.items() >= sweepfile.flat(task.settings).items()
        assert row["events"] == 8  # 9 pairs, 2 of them in the first event
        assert 0 <= row["accuracy_percent"] <= 100
    assert [row["replay_bytes"] for row in rows] == [8 * 256, 8 * 160, 12 * 256, 12 * 160]
    with (folder / "table.csv").open(newline="") as file:
        assert [{k: str(v) for k, v in row.items()} for row in rows] == list(csv.DictReader(file))
    assert table.read(folder / "table.csv") == rows
    kinds = [one.kind for one in news]
    assert kinds.count("began") == kinds.count("done") == 4
    assert kinds.count("event") == 4 * 8


@pytest.mark.long
def test_a_killed_worker_changes_nothing(undisturbed, tmp_path):
    killed = []

    def kill(news):
        if news.kind == "event" and news.event == 3 and not killed:
            # The worker that sent it: the youngest child that holds the session's lock.
            for process in pool.multiprocessing.active_children():
                killed.append(process.pid)
                os.kill(process.pid, signal.SIGKILL)
                break

    now, news = learn(sweepfile.parse(TEXT), tmp_path, kill)
    assert killed
    assert not now.failed
    assert not now.missing
    assert [one.kind for one in news].count("died") == 1
    folder, _ = undisturbed
    assert (tmp_path / "table.csv").read_bytes() == (folder / "table.csv").read_bytes()


@pytest.mark.slow
def test_a_second_start_learns_only_what_is_missing(undisturbed, tmp_path):
    wanted, stop = sweepfile.parse(TEXT), interrupt.Stop()

    def halt(news):
        if news.kind == "event" and news.event == 2:
            stop._receive(signal.SIGTERM)

    now, _ = learn(wanted, tmp_path, halt, workers=1, stop=stop)
    assert len(now.missing) == 4  # the first was stopped in the middle
    assert not (tmp_path / "table.csv").exists()
    log = tmp_path / learned.SESSIONS / wanted.tasks[0].id / "events.jsonl"
    events = log.read_text().count("\n")
    assert 2 <= events < 8
    (tmp_path / "results").mkdir(exist_ok=True)
    folder, _ = undisturbed
    for task in wanted.tasks[1:3]:  # two are finished elsewhere, one result is damaged
        name = f"{task.id}.json"
        (tmp_path / "results" / name).write_bytes((folder / "results" / name).read_bytes())
    (tmp_path / "results" / f"{wanted.tasks[3].id}.json").write_text("{")
    now, news = learn(wanted, tmp_path, workers=1)
    assert [one.task for one in news if one.kind == "done"] == [
        wanted.tasks[0].id,
        wanted.tasks[3].id,
    ]
    assert (tmp_path / "table.csv").read_bytes() == (folder / "table.csv").read_bytes()
    result = learned.read(tmp_path, wanted.tasks[0].id)
    assert result is not None
    assert result["timing"]["events_now"] == 8 - events
    _, news = learn(wanted, tmp_path)
    assert not [one for one in news if one.kind != "tick"]


@pytest.mark.slow
def test_what_fails_is_said_and_the_rest_is_learned(tmp_path, capsys):
    text = TEXT.replace("replays = [8, 12]", "replays = [8]").replace(
        "bits = [8, 5]", '"protocol.learning_rate" = [1e30, 1e-3]'
    )
    (tmp_path / "sweep.toml").write_text(text)
    out = tmp_path / "out"
    words = ["sweep", str(tmp_path / "sweep.toml"), "--out", str(out), "--workers", "1"]
    assert cli.main(words) == 1
    said = capsys.readouterr()
    assert "loss is not finite" in said.out or "is not finite" in said.out
    assert "1 of 2 sessions are missing" in said.out
    assert "(1/2" in said.err
    assert len(table.read(out)) == 1
    assert cli.main([*words, "--missing"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("1 sessions are missing")
    assert "protocol.learning_rate 1e+30" in listed


def test_a_task_whose_workers_keep_dying_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "_work", _die)
    task = sweepfile.parse("[grid]\nreplays = [1]").tasks
    news = list(pool.run(task, tmp_path, 1, 1, interrupt.Stop()))
    assert [one.kind for one in news if one.kind != "tick"] == ["began", "died", "began", "failed"]
    assert "its worker died 2 times" in news[-1].error


def _die(pipe, folder, share):
    pipe.recv()
    os._exit(9)


def test_a_folder_with_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "sweep.toml").write_text(TEXT)
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.png").write_text("")
    words = ["sweep", str(tmp_path / "sweep.toml"), "--out"]
    assert cli.main([*words, str(other)]) == 2
    assert "holds no sweep (there is 'cat.png')" in capsys.readouterr().err
    assert cli.main([*words, str(tmp_path / "sweep.toml")]) == 2
    assert "is a file" in capsys.readouterr().err
    for flag, value in (("--workers", "-1"), ("--hours", "0"), ("--retries", "-1")):
        assert cli.main([*words, str(tmp_path / "new"), flag, value]) == 2
        assert flag in capsys.readouterr().err


def test_time_left_comes_from_like_sessions():
    text = "[grid]\nlatent_layer = [25, 27]\nreplays = [1, 2]\nbits = [8, 7]"
    tasks = sweepfile.parse(text).tasks
    by = {(t.settings.latent_layer, t.settings.replays, t.settings.bits): t.id for t in tasks}

    def took(seconds):
        return {"timing": {"seconds": seconds}}

    assert sweep.seconds_left(tasks, {}, {}, {}) is None
    done = {by[25, 1, 8]: took(100.0), by[27, 1, 8]: took(10.0)}
    # Two more like each of them; replays of 2 like their layer.
    assert sweep.seconds_left(tasks, done, {}, {}) == 3 * 100 + 3 * 10
    running = {by[25, 1, 7]: 30.0, by[27, 1, 7]: 99.0}
    expected = (70 + 0 + 2 * 100 + 2 * 10) / 2
    assert sweep.seconds_left(tasks, done, {}, running) == expected
    failed = {by[25, 2, 8]: "", by[25, 2, 7]: ""}
    assert sweep.seconds_left(tasks, done, failed, running) == (70 + 2 * 10) / 2


def test_processors_are_divided():
    mine = sorted(os.sched_getaffinity(0))
    assert [len(share) for share in pool._shares(1)] == [len(mine)]
    every = pool._shares(len(mine))
    assert sorted(place for share in every for place in share) == mine
    assert all(len(share) == 1 for share in pool._shares(len(mine) + 3))


def test_a_table_that_is_none_is_named(tmp_path):
    with pytest.raises(ValueError, match="is not there"):
        table.read(tmp_path)
    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="is not a sweep's table"):
        table.read(tmp_path)
