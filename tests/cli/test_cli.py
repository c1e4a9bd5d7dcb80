"""The command line: results where they are promised, one sentence and exit code 2 for bad input."""

import json

import numpy as np
import pytest
from PIL import Image

from qlrjax import cli, settings
from qlrjax.runs import grow, lessons, run
from qlrjax.settings import Settings

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
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "tiny"
    assert cli.main(["run", "--out", str(folder), *TINY]) == 0
    return folder


@pytest.mark.slow
def test_a_run_leaves_what_the_readme_promises(finished, capsys):
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["replay_bytes"] == 24 * -(-256 * 7 // 8)  # 1x1x256 values of 7 bits
    assert {"accuracy_percent", "forgetting_points", "backward_transfer_points"} <= set(summary)
    lines = [json.loads(line) for line in (finished / "events.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == list(range(9))
    with Image.open(finished / "report.png") as picture:
        assert picture.size[0] > 1000
    rows = (finished / "accuracy.csv").read_text().splitlines()
    assert len(rows) == 10
    assert (finished / "fidelity.csv").read_text().startswith("layer,cosine,snr_db\nconv1,")
    assert settings.load(finished / "settings.toml").bits == 7


@pytest.mark.slow
def test_a_finished_run_says_so_and_learns_nothing_more(finished, capsys):
    before = (finished / "events.jsonl").read_bytes()
    assert cli.main(["run", "--out", str(finished), *TINY, "--no-contrast"]) == 0
    assert "is finished" in capsys.readouterr().err
    assert (finished / "events.jsonl").read_bytes() == before


@pytest.mark.parametrize("label", ["", " ", "two\nlines"])
def test_a_class_needs_a_name(label, tmp_path, capsys):
    assert cli.main(["learn", str(tmp_path), "photo.jpg", "--label", label]) == 2
    assert f"--label {label!r} is no name" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_own_photos_make_a_new_class_and_are_recognised(finished, tmp_path, capsys):
    generator = np.random.default_rng(0)
    for index in range(8):
        pixels = np.full((40, 60, 3), (250, 10, 10), np.uint8)
        pixels[:, ::4] = generator.integers(0, 40)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    assert cli.main(["learn", str(finished), str(tmp_path), "--label", "mug"]) == 0
    assert "the new class 'mug' from 8 photos" in capsys.readouterr().out
    assert (
        cli.main(["predict", str(finished), str(tmp_path / "3.png"), "--json", "--top", "6"]) == 0
    )
    [answer] = json.loads(capsys.readouterr().out)
    assert {entry["class"] for entry in answer["classes"]} >= {"mug", "class 0"}
    assert sum(entry["probability"] for entry in answer["classes"]) == pytest.approx(1, abs=1e-4)
    # A known class again: no further class appears, and the log has both lessons.
    assert cli.main(["learn", str(finished), str(tmp_path / "0.png"), "--label", "mug"]) == 0
    opened = run.open_run(finished)
    assert opened.class_names[-1] == "mug"
    assert len(opened.class_names) == 6
    assert [r["learned_from_photos"] for r in opened.records[-2:]] == ["mug", "mug"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--latent-layer", "28"], "latent layer 28 is out of range"),
        (["run", "--bits", "9"], "9 bits a replay are not possible"),
        (["run", "--replays", "-1"], "replays is -1"),
        (["run", "--data", "nowhere"], "there is no data 'nowhere'"),
        (["run", "--weights", "none.h5"], "none.h5; give 'builtin'"),
        (["run", "--preset", "magic"], "there is no preset 'magic'"),
        (["run", "--config", "none.toml"], "settings file none.toml cannot be read"),
        (["run", "--learning-rate", "nan"], "learning_rate is nan"),
    ],
)
def test_bad_settings_get_one_sentence_and_code_2(words, message, tmp_path, capsys):
    out = tmp_path / "run"
    code = exit_code([*words, "--out", str(out)])
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (out / "settings.toml").exists()


def exit_code(words):
    """What the shell would see, whether the parser exits or a command returns."""
    try:
        return cli.main(words)
    except SystemExit as stop:
        return stop.code


def test_unknown_words_get_code_2(capsys, tmp_path):
    assert cli.main(["fly"]) == 2
    assert "unknown command 'fly'" in capsys.readouterr().err
    assert cli.main([]) == 2
    assert exit_code(["run", "--out", str(tmp_path / "x"), "--no-such-flag"]) == 2


def test_folders_that_are_no_runs_are_refused(tmp_path, capsys):
    (tmp_path / "thesis.doc").write_text("precious")
    assert cli.main(["run", "--out", str(tmp_path), *TINY, "--fresh"]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert (tmp_path / "thesis.doc").read_text() == "precious"
    assert cli.main(["predict", str(tmp_path), "photo.jpg"]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert cli.main(["run", "--out", str(tmp_path / "thesis.doc"), *TINY]) == 2
    assert "is a file" in capsys.readouterr().err


@pytest.mark.slow
def test_photos_that_cannot_be_read_change_nothing(finished, tmp_path, capsys):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    before = sorted(path.name for path in (finished / "checkpoints").iterdir())
    assert cli.main(["learn", str(finished), str(tmp_path), "--label", "x"]) == 2
    assert "cut.jpg" in capsys.readouterr().err
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == before


@pytest.mark.slow
def test_growing_by_a_class_changes_no_answer_about_the_old_ones(finished):
    opened = run.open_run(finished)
    images = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    chosen: Settings = opened.settings
    before = lessons.probabilities(chosen, opened.extractor, opened.state, images)
    grown = grow.add_class(opened.state, opened.strategy)
    after = lessons.probabilities(chosen, opened.extractor, grown, images)
    np.testing.assert_array_equal(after[:, :-1], before)
    assert not after[:, -1].any()


def test_info_says_what_runs_the_frozen_stage_and_training(capsys, monkeypatch):
    from qlrjax import cli

    monkeypatch.setenv("QLRJAX_FROZEN", "jax")
    monkeypatch.setenv("QLRJAX_TRAINING", "jax")
    assert cli.main(["info"]) == 0
    said = capsys.readouterr().out
    assert "frozen stage  pure JAX: QLRJAX_FROZEN=jax" in said
    assert "training      pure JAX: QLRJAX_TRAINING=jax" in said
    assert "jaxlib" in said
    assert "that this process may use" in said
