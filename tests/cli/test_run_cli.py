"""`qlrjax run` as people call it: again, from elsewhere, after a failure, at 32 bits."""

import json
import re

import pytest
from support.photos import labelled

from qlrjax import cli, settings
from qlrjax.runs import run
from qlrjax.streams import user_cache

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
NARROW = [
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


@pytest.mark.slow
def test_floats_in_the_replay_memory_run_through_to_the_report(tmp_path, capsys):
    words = [word if word != "7" else "32" for word in TINY]
    assert cli.main(["run", "--out", str(tmp_path / "run"), *words, "--no-contrast"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "one event of 6 images on vega (simulated; " in said
    assert (tmp_path / "run" / "report.png").exists()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["replay_bytes"] == 24 * 256 * 4


@pytest.mark.slow
def test_every_line_of_progress_names_its_strategy_and_the_end_its_test_set(tmp_path, capsys):
    assert cli.main(["run", "--out", str(tmp_path / "run"), *TINY]) == 0
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if re.search(r"event \d+/9", line)]
    assert len(lines) == 27
    for name in ("24 7-bit replays", "no replays, CWR* head", "no replays, fine-tuned"):
        mine = [line for line in lines if line.startswith(f"{name}: event ")]
        assert len(mine) == 9
    assert "tested on 30 images of session 3, which no event learns from" in said.out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["test_sessions"], summary["test_images"]) == ([3], 30)


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_settings_from_anywhere(tmp_path, monkeypatch, capsys):
    labelled(tmp_path / "at home" / "photos", ["cup", "key"])
    monkeypatch.chdir(tmp_path / "at home")
    assert cli.main(["run", "--out", "run", "--data", "photos", *NARROW]) == 0
    folder = tmp_path / "at home" / "run"
    chosen = settings.load(folder / "settings.toml")
    assert chosen.stream.data == str(tmp_path / "at home" / "photos")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    assert cli.main(["run", "--out", str(folder), "--no-contrast"]) == 0
    assert "is finished" in capsys.readouterr().err.replace("\n", " ")
    # What is named must agree, but for what changes nothing of what is learned.
    assert cli.main(["run", "--out", str(folder), "--seed", "4"]) == 2
    assert "seed was 0, is 4" in capsys.readouterr().err
    assert cli.main(["run", "--out", str(folder), "--preset", "cwrstar"]) == 2
    capsys.readouterr()
    # The photos have moved; they are the same, so that the run goes on and remembers where.
    (tmp_path / "at home" / "photos").rename(tmp_path / "moved")
    words = ["run", "--out", str(folder), "--data", str(tmp_path / "moved"), "--no-contrast"]
    assert cli.main([*words, "--checkpoint-every", "3"]) == 0
    assert settings.load(folder / "settings.toml").stream.data == str(tmp_path / "moved")
    labelled(tmp_path / "others", ["cup", "tea"])
    words[4] = str(tmp_path / "others")
    assert cli.main(words) == 2
    assert "are not those that the run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_learned_nothing_does_not_block_its_folder(tmp_path, capsys):
    words = ["run", "--out", str(tmp_path / "run"), *TINY, "--no-contrast"]
    assert cli.main([*words, "--first-learning-rate", "1e30"]) == 2
    assert "is not finite" in capsys.readouterr().err
    assert cli.main([*words, "--first-learning-rate", "0.002"]) == 0
    assert settings.load(tmp_path / "run" / "settings.toml").protocol.first_learning_rate == 0.002
    assert run.open_run(tmp_path / "run").settings.protocol.first_learning_rate == 0.002


@pytest.mark.slow
def test_damaged_settings_are_written_anew_from_the_checkpoint(tmp_path, capsys):
    folder = tmp_path / "run"
    assert cli.main(["run", "--out", str(folder), *TINY, "--no-contrast"]) == 0
    text = (folder / "settings.toml").read_text()
    cut = text[: text.rindex("maps = ")]  # what is missing is the default, so it means the same
    damages = (text.replace("replays", "re\x00lays"), text[:40], text.replace("24", "25"), cut)
    for damage in damages:
        (folder / "settings.toml").write_text(damage)
        assert cli.main(["run", "--out", str(folder), "--no-contrast"]) == 0
        assert (folder / "settings.toml").read_text() == text
    (folder / "settings.toml").write_text("[[[")
    capsys.readouterr()
    assert cli.main(["run", "--out", str(folder), "--no-contrast"]) == 0
    assert "is not TOML" in " ".join(capsys.readouterr().err.split())


def test_prepared_frames_go_to_the_users_cache_with_a_word_on_their_size(
    tmp_path, monkeypatch, caplog
):
    from PIL import Image

    from qlrjax.streams.open import open_stream
    from qlrjax.streams.settings import StreamSettings

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for session in (1, 2, 3):
        for item in (1, 2):
            place = tmp_path / "data" / "core" / f"s{session}" / f"o{item}"
            place.mkdir(parents=True)
            for number in range(2):
                name = f"C_{session:02d}_{item:02d}_{number:03d}.png"
                Image.new("RGB", (9, 9), (session, item, number)).save(place / name)
    chosen = StreamSettings(data=f"core50:{tmp_path / 'data' / 'core'}")
    open_stream(chosen, 8, 0)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["core"]
    assert user_cache.folder() == tmp_path / "cache" / "qlrjax"
    assert [path.suffix for path in sorted(user_cache.folder().iterdir())].count(".npy") == 1
    assert "preparing 12 frames once, 0.00 GB in " in caplog.text
    assert str(tmp_path / "cache") in caplog.text
    # It is made once, and elsewhere if that is asked for.
    caplog.clear()
    open_stream(chosen, 8, 0)
    assert caplog.text == ""
    named = StreamSettings(data=chosen.data, data_dir=str(tmp_path / "there"))
    open_stream(named, 8, 0)
    assert list((tmp_path / "there").glob("*.npy"))


def test_too_little_room_for_prepared_frames_is_said_before_any_is_read(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"takes 9000\.00 GB, and .* GB left; make room"):
        user_cache.check_room(tmp_path / "not" / "there", 9 * 10**12, "the array")
