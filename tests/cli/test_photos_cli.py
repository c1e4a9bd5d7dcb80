"""`predict`, `learn` and `evaluate` on the folders that people have."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from support.photos import HEIC, labelled, photo

from qlrjax import cli
from qlrjax.runs import run
from qlrjax.streams import photos

TINY = [
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


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A run on a folder of two sessions and three classes, and that folder."""
    place = tmp_path_factory.mktemp("own")
    labelled(place / "photos", ["cup", "key", "pen"])
    data = str(place / "photos")
    assert cli.main(["run", "--out", str(place / "run"), "--data", data, *TINY]) == 0
    return place


@pytest.fixture
def place(learned, tmp_path):
    """A copy of them that a test may change."""
    shutil.copytree(learned, tmp_path / "own")
    return tmp_path / "own"


def test_nested_folders_and_every_format_are_read(tmp_path):
    for name in ("a.png", "in/b.jpg", "in/deep/c.gif", "in/d.tif", "in/e.tiff", "f.webp"):
        photo(tmp_path / name)
    photo(tmp_path / ".hidden" / "x.png")
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / "in" / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = photos.read_all([tmp_path], (8, 8))
    names = [path.name for path in found.paths]
    assert sorted(names) == ["a.png", "b.jpg", "c.gif", "d.tif", "e.tiff", "f.webp"]
    assert found.images.shape == (6, 8, 8, 3)
    # By name they are what they are in a folder.
    for path in found.paths:
        alone = photos.read_all([path], (8, 8)).images[0]
        np.testing.assert_array_equal(alone, found.images[names.index(path.name)])


def test_of_an_animation_the_first_frame_counts(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((200, 0, 0), (0, 0, 200))]
    for suffix in ("gif", "tif"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        assert photos.read_photo(path, (8, 8))[0, 0, 0] > 150


@pytest.mark.parametrize("name", ["x.heic", "x.HEIC", "x.jpg"])
def test_heic_is_called_unsupported_and_not_damaged(tmp_path, name):
    (tmp_path / name).write_bytes(HEIC)
    with pytest.raises(ValueError, match=r"is HEIC, which is not supported; convert it to JPEG"):
        photos.read_photo(tmp_path / name, (8, 8))


@pytest.mark.slow
def test_predict_leaves_bad_photos_out_by_name_and_strict_stops(learned, tmp_path, capsys):
    photo(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "phone.heic").write_bytes(HEIC)
    words = ["predict", str(learned / "run"), str(tmp_path), "--json"]
    assert cli.main(words) == 0
    said = capsys.readouterr()
    [answer] = json.loads(said.out)
    assert answer["photo"].endswith("in/good.png")
    told = " ".join(said.err.split())
    assert "2 of 3 photos are left out" in told
    assert "cut.jpg is damaged" in told
    assert "phone.heic is HEIC, which is not supported" in told
    assert cli.main([*words, "--strict"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    # Nothing but bad ones is an error, too, and every one is named.
    assert cli.main(["predict", str(learned / "run"), str(tmp_path / "in" / "cut.jpg")]) == 2
    assert "cut.jpg is damaged" in capsys.readouterr().err


@pytest.mark.slow
def test_a_bad_photo_does_not_end_a_run(place, tmp_path, capsys, caplog):
    bad = place / "photos" / "s1" / "cup" / "9.png"
    bad.write_bytes((place / "photos" / "s1" / "cup" / "0.png").read_bytes()[:60])
    words = ["run", "--data", str(place / "photos"), *TINY]
    assert cli.main([*words, "--out", str(tmp_path / "run")]) == 0
    assert "1 of 25 photos are left out" in caplog.text
    assert "9.png is damaged" in caplog.text
    # The same images as without it: the same learner.
    assert (tmp_path / "run/events.jsonl").read_bytes() == (place / "run/events.jsonl").read_bytes()
    capsys.readouterr()
    assert cli.main([*words, "--out", str(tmp_path / "strict"), "--strict"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "9.png is damaged" in line


@pytest.mark.slow
def test_learn_shows_accuracy_and_brings_the_summary_up_to_date(place, tmp_path, capsys):
    for shot in range(6):
        photo(tmp_path / "mug" / f"{shot}.png", (10, 250, 10), shot)
    before = json.loads((place / "run" / "summary.json").read_text())
    assert cli.main(["learn", str(place / "run"), str(tmp_path / "mug"), "--label", "mug"]) == 0
    said = capsys.readouterr().out
    record = run.open_run(place / "run").records[-1]
    # What is printed is what the run itself says of these photos afterwards.
    words = ["predict", str(place / "run"), str(tmp_path / "mug"), "--json", "--top", "1"]
    assert cli.main(words) == 0
    answers = json.loads(capsys.readouterr().out)
    right = sum(answer["classes"][0]["class"] == "mug" for answer in answers) / 6
    assert record["photos_accuracy"] == pytest.approx(right)
    assert f"recognised now: {100 * right:.1f} % of these photos" in said
    assert f"{100 * record['replays_accuracy']:.1f} % of the replay memory" in said
    after = json.loads((place / "run" / "summary.json").read_text())
    assert after.pop("lessons") == [
        {
            "learned_from_photos": "mug",
            "images": 6,
            "photos_accuracy": record["photos_accuracy"],
            "replays_accuracy": record["replays_accuracy"],
        }
    ]
    assert after == before
    header = (place / "run" / "accuracy.csv").read_text().splitlines()[0]
    assert header == "event,cup,key,pen,mug"
    # The run's own command agrees with what the lesson wrote.
    written = (place / "run" / "summary.json").read_text()
    assert cli.main(["run", "--out", str(place / "run"), "--no-contrast"]) == 0
    assert json.loads((place / "run" / "summary.json").read_text()) == json.loads(written)


@pytest.mark.slow
def test_evaluate_counts_what_predict_says(learned, tmp_path, capsys):
    root = tmp_path / "test"
    for place, name in enumerate(("cup", "pen", "pen")):
        photo(root / name / f"{place}.png", (60 * place, 90, 200 - 50 * place), place)
    photo(root / "unicorn" / "0.png")
    (root / "cup" / "bad.gif").write_bytes(b"GIF89a")
    assert cli.main(["evaluate", str(learned / "run"), str(root), "--json"]) == 0
    said = capsys.readouterr()
    values = json.loads(said.out)
    assert "bad.gif is damaged" in said.err
    assert values["unknown_classes"] == {"unicorn": 1}
    names = values["confusion"]["class_names"]
    expected = np.zeros((3, 3), int)
    for name, pictures in (("cup", ["0.png"]), ("pen", ["1.png", "2.png"])):
        for picture in pictures:
            words = ["predict", str(learned / "run"), str(root / name / picture), "--json"]
            assert cli.main(words) == 0
            [answer] = json.loads(capsys.readouterr().out)
            best = answer["classes"][0]["class"]
            expected[names.index(name), names.index(best)] += 1
    assert values["confusion"]["images"] == expected.tolist()
    assert values["images"] == 3
    assert values["accuracy_percent"] == pytest.approx(100 * np.trace(expected) / 3, abs=1e-3)
    assert cli.main(["evaluate", str(learned / "run"), str(root), "--csv"]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == ["class", "images", "right", "accuracy_percent", "cup", "key", "pen"]
    assert [list(map(int, row[4:])) for row in rows[1:]] == expected.tolist()
    assert cli.main(["evaluate", str(learned / "run"), str(root)]) == 0
    assert "of 3 photos are recognised" in capsys.readouterr().out
    assert cli.main(["evaluate", str(learned / "run"), str(root), "--strict"]) == 2
    assert "'unicorn'" in capsys.readouterr().err
