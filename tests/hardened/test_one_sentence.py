"""Whatever goes wrong is one sentence that names it, with exit code 2; never a traceback."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support import crafted, tiny

from qlrjax import cli
from qlrjax.runs import checkpoint, marker

ROOT = Path(__file__).resolve().parents[2]


def environment():
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "hw")])
    return {**os.environ, "PYTHONPATH": path}


def command(*words):
    """Who starts the tests may have told them to ignore Ctrl-C; a terminal's programs do not."""
    script = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from qlrjax import cli; print('ready', flush=True); sys.exit(cli.main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", script, *map(str, words)]


@pytest.mark.parametrize("name", ["run.lock", "settings.toml", "frozen.npz", "qlrjax-run.json"])
def test_pipes_in_place_of_files_are_not_waited_for(folder, tmp_path, refused, name):
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    photos = tiny.photos(tmp_path / "photos")
    if name not in ("settings.toml",):
        refused("learn", folder, photos, "--label", "mug")
    refused("export", folder, "--format", "state", "--out", tmp_path / "x.npz")


@pytest.mark.parametrize("name", ["events.jsonl", "summary.json", "accuracy.csv", "settings.toml"])
def test_pipes_in_place_of_what_can_be_written_anew_are_replaced(folder, name):
    before = (folder / name).read_bytes()
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert cli.main(["run", "--out", str(folder), "--no-contrast"]) == 0
    assert (folder / name).read_bytes() == before


def test_pipes_in_place_of_inputs(folder, tmp_path, refused):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for words in (
        ("predict", folder, pipe),
        ("import", pipe, tmp_path / "new"),
        ("run", "--out", tmp_path / "new", *tiny.WORDS, "--config", pipe),
        ("run", "--out", tmp_path / "new", *tiny.WORDS, "--weights", pipe),
        ("run", "--out", tmp_path / "new", *tiny.WORDS, "--data", pipe),
        ("data", "check", pipe),
        ("export", folder, "--format", "firmware", "--target", f"{pipe}.toml"),
    ):
        refused(*words)
    os.rename(pipe, f"{pipe}.toml")
    refused("export", folder, "--format", "firmware", "--target", f"{pipe}.toml")
    refused("hw", "event", "--platform", f"{pipe}.toml")


DEEP = b"a = " + b"[" * 10**5


def test_files_that_are_deeper_than_the_stack(folder, tmp_path, refused):
    deep = tmp_path / "deep.toml"
    deep.write_bytes(DEEP)
    refused("run", "--out", tmp_path / "new", *tiny.WORDS, "--config", deep)
    refused("export", folder, "--format", "firmware", "--target", deep, "--out", tmp_path / "c")
    refused("hw", "event", "--platform", deep)


def test_a_user_that_does_not_exist(tmp_path, refused):
    for flag in ("--data", "--weights", "--data-dir"):
        said = refused("run", "--out", tmp_path / "run", *tiny.WORDS, flag, "~nosuchuser/x")
        assert "~nosuchuser" in said


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "run.npz"
    assert cli.main(["export", str(finished), "--format", "state", "--out", str(path)]) == 0
    return path


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("class_names", [None, 3, [], ["a"], ["a"] * 5, ["a", "b", "c", "d", "\x1b"], "abcde"]),
        ("events", [None, 0, -1, 8, 10, 2**70, "9", 9.0, True]),
        ("stream_classes", [None, -1, 6, "5", [5]]),
        ("stream", [None, "", "x" * 64, 3]),
        ("run", [3, "", "x" * 32, [], "A" * 32]),
        ("before", [-1, 10**9, "1", [1]]),
        ("change", [3, "x" * 1001, []]),
    ],
)
def test_missing_and_odd_extras_fail_the_import_and_leave_no_folder(
    exported, tmp_path, refused, name, values
):
    for value in values:
        export = crafted.Export(exported)
        if value is None:
            del export.about["extra"][name]
        else:
            export.about["extra"][name] = value
        if (name, value) == ("run", ""):
            continue
        path = export.write(tmp_path / "x.npz")
        refused("import", path, tmp_path / "run")
        assert not (tmp_path / "run").exists(), (name, value)


def test_settings_of_a_run_without_checkpoints_name_file_and_remedy(tmp_path, refused):
    run = tmp_path / "run"
    assert tiny.run(run) == 0
    shutil.rmtree(run / "checkpoints")
    text = (run / "settings.toml").read_text()
    for damage in (text.replace("replays", "replayr"), text.replace("bits = 7", "bits = 97")):
        (run / "settings.toml").write_text(damage)
        said = refused("run", "--out", run)
        assert str(run / "settings.toml") in said
        assert "--fresh" in said


def test_orphans_of_killed_processes_are_swept(folder, tmp_path):
    orphans = (
        ".trash-checkpoints/00000001/state",
        ".trash-no-replay",
        "checkpoints/.trash-00000003",
        "checkpoints/.draft-00000010/state",
        "checkpoints/.trash-00000003.corrupt-1",
    )
    for name in orphans:
        (folder / name).mkdir(parents=True)
    (folder / f".summary.json.{'a' * 12}.tmp").write_text("half")
    (folder / f".thesis.tex.{'a' * 12}.tmp").write_text("mine")
    photos = tiny.photos(tmp_path / "photos")
    assert cli.main(["learn", str(folder), str(photos), "--label", "mug"]) == 0
    left = [p.name for p in folder.rglob(".*")]
    assert left == [f".thesis.tex.{'a' * 12}.tmp"]


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.0, 0.1, 0.2, 1.5])
@pytest.mark.parametrize("verb", ["learn", "run", "predict"])
def test_ctrl_c_at_any_moment_is_no_traceback_and_is_obeyed(folder, tmp_path, verb, moment):
    photos = tiny.photos(tmp_path / "photos")
    words = {
        "learn": ("learn", folder, photos, "--label", "mug"),
        "run": ("run", "--out", tmp_path / "new", *tiny.WORDS),
        "predict": ("predict", folder, photos),
    }[verb]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command(*words), env=environment(), **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=300)
    assert "Traceback" not in errors
    finished = said if verb == "predict" else "learned" in said
    assert process.returncode in (130, -2) or (process.returncode == 0 and finished)
    if process.returncode == 130:
        assert "interrupted" in errors or "SIGINT" in errors or "stopped" in errors


def limited(number, value, *words):
    """A command under a limit of the system."""
    script = (
        "import resource, sys; "
        f"resource.setrlimit({number}, ({value}, {value})); "
        "from qlrjax import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_few_descriptors_and_small_files_are_one_sentence(folder, tmp_path):
    import resource

    photos = tiny.photos(tmp_path / "photos")
    for number, value in (
        (resource.RLIMIT_NOFILE, 40),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_FSIZE, 20_000),
    ):
        done = limited(number, value, "run", "--out", tmp_path / f"{number}{value}", *tiny.WORDS)
        assert done.returncode in (0, 2), done.stderr[-2000:]
        assert "Traceback" not in done.stderr
        done = limited(number, value, "learn", folder, photos, "--label", f"m{value}")
        assert done.returncode in (0, 2), done.stderr[-2000:]
        assert "Traceback" not in done.stderr
    assert marker.read(folder) is not None


def test_a_run_that_another_process_starts_anew_is_one_sentence(
    folder, tmp_path, refused, monkeypatch
):
    """`run --fresh` takes the checkpoints away between the look at them and the reading."""
    photos, peek = tiny.photos(tmp_path / "photos"), checkpoint.peek

    def peek_and_lose(place):
        described = peek(place)
        shutil.rmtree(place)
        return described

    monkeypatch.setattr(checkpoint, "peek", peek_and_lose)
    assert "another process starts this run anew" in refused("predict", folder, photos)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_limits_under_which_nothing_can_be_computed_are_one_sentence(tmp_path):
    """Beyond them asyncio leaves a traceback and LLVM ends the process."""
    import resource

    for number, value, said in (
        (resource.RLIMIT_NOFILE, 16, "lets this program open 16 files, and it needs 32"),
        (resource.RLIMIT_AS, 1_900_000_000, "1.9 GB of address space, and it needs 3 GB"),
    ):
        done = limited(number, value, "run", "--out", tmp_path / "run", *tiny.WORDS)
        assert done.returncode == 2
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_avif_that_is_damaged_anywhere_is_a_sentence(folder, tmp_path, refused):
    from PIL import Image, features

    if not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    path = tmp_path / "a.avif"
    generator = np.random.default_rng(3)
    Image.fromarray(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    for cut in (0, 1, 12, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        refused("predict", folder, path)
    refusals = 0
    for _ in range(60):
        broken = bytearray(data)
        for place in generator.integers(0, len(data), 3):
            broken[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(broken)
        refusals += cli.main(["predict", str(folder), str(path)]) == 2
    assert refusals > 10
