"""The door: what is imported, what is said in one sentence, and how it ends when nobody listens."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.photos import HEIC, labelled, photo

from qlrjax import cli

ROOT = Path(__file__).resolve().parents[2]


def environment():
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "hw")])
    return {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}


def imports_of(*words):
    """Modules that a command imports, and its exit code."""
    code = (
        "import atexit, sys; from qlrjax import cli; "
        "atexit.register(lambda: print('\\n'.join(sys.modules), file=sys.stderr)); "
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment(), capture_output=True, text=True
    )
    return set(done.stderr.split()), done.returncode


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["fly"]])
def test_the_door_imports_no_arrays(words):
    modules, code = imports_of(*words)
    assert code == (2 if words == ["fly"] else 0)
    heavy = {"jax", "numpy", "matplotlib", "tyro", "rich", "PIL", "tensorflow_datasets"}
    assert not modules & heavy


HELPED = [[name] for name in cli._COMMANDS] + [
    ["hw", name] for name in ("event", "layer", "compare", "kernel", "loop")
]


@pytest.mark.parametrize("words", HELPED, ids=" ".join)
def test_a_command_explains_itself_without_jax(words):
    """A count instead of a time: JAX and what builds on it take most of a second to load."""
    modules, code = imports_of(*words, "--help")
    assert code == 0
    assert "tyro" in modules
    assert not modules & {"jax", "jaxlib", "flax", "optax", "matplotlib", "tensorflow_datasets"}


@pytest.mark.slow
@pytest.mark.parametrize("command", ["predict", "learn"])
def test_questions_and_lessons_import_no_drawing_and_no_data_sets(command, tmp_path):
    photo(tmp_path / "x.png")
    words = [command, str(tmp_path / "none"), str(tmp_path / "x.png")]
    modules, code = imports_of(*words, *(["--label", "x"] if command == "learn" else []))
    assert code == 2  # there is no such run, which is found out after all imports
    assert "jax" in modules
    assert not modules & {"matplotlib", "tensorflow_datasets", "onnx", "h5py", "pulpsim"}


def test_the_version_is_said(capsys):
    assert cli.main(["--version"]) == 0
    assert re.fullmatch(r"qlrjax \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


def test_help_lists_every_command(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in cli._COMMANDS:
        assert f"qlrjax {name} " in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--out", "x", "--no-such-flag"], "there is no option --no-such-flag"),
        (["run"], "--out PATH is missing"),
        (["run", "--out", "x", "--bits"], "missing value for argument '--bits'"),
        (["run", "--out", "x", "--replays", "many"], "--replays"),
        (["run", "--out", "x", "--frozen", "int4"], "invalid choice 'int4'"),
        (["predict"], "is missing"),
        (["learn", "x", "y"], "--label STR is missing"),
        (["evaluate", "x"], "is missing"),
        (["evaluate", "x", "y", "--json", "--csv"], "exclude each other"),
        (["classes"], "is missing"),
        (["data"], "qlrjax data check FOLDER"),
        (["export", "x", "--format", "pdf"], "pdf"),
        (["import", "x"], "is missing"),
    ],
)
def test_arguments_are_refused_in_one_sentence(words, message, capsys):
    assert cli.main(words) == 2
    said = capsys.readouterr()
    [line] = said.err.splitlines()
    assert line.startswith(f"qlrjax {words[0]}: ")
    assert message in line
    assert not set(line) & set("│╭╰─")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]])
def test_a_reader_that_goes_away_is_no_error(words):
    command = [sys.executable, "-m", "qlrjax.cli", *words]
    chosen = {**environment(), "PYTHONUNBUFFERED": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=chosen, **pipes) as process:
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(60) in (0, 141)
    assert errors == ""


def test_data_check_says_what_a_folder_holds(tmp_path, capsys):
    root = labelled(tmp_path / "photos", ["cup", "key"], shots=2)
    (root / "s1" / "cup" / "0.png").rename(root / "s1" / "cup" / "8.png")
    (root / "s2" / "cup" / "copy.png").write_bytes((root / "s1" / "cup" / "8.png").read_bytes())
    (root / "s1" / "key" / "phone.heic").write_bytes(HEIC)
    (root / "s1" / "key" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "s1" / "key" / "notes.txt").write_text("x")
    assert cli.main(["data", "check", str(root), "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["layout"] == "session/object/images"
    assert values["sessions"] == {"s1": 1, "s2": 2}
    assert values["classes"] == {"cup": {"s1": 2, "s2": 3}, "key": {"s1": 2, "s2": 2}}
    assert values["images"] == 9
    assert values["other_files"] == 1
    assert sorted(Path(bad["photo"]).name for bad in values["bad"]) == ["cut.jpg", "phone.heic"]
    [copies] = values["duplicates"]
    assert sorted(Path(name).name for name in copies["photos"]) == ["8.png", "copy.png"]
    assert copies["across"] == "sessions"
    assert cli.main(["data", "check", str(root)]) == 0
    text = capsys.readouterr().out
    assert "2 files are bad" in text
    assert "1 photos are there more than once" in text
    assert cli.main(["data", "check", str(tmp_path / "none")]) == 2
    assert "there is no folder" in capsys.readouterr().err
