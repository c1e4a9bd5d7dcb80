"""The experiments that make the accuracy figures: their tables are right, and they go on."""

import csv
import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qlrjax import presets, session
from qlrjax.streams import cut, synthetic

FOLDER = Path(__file__).resolve().parents[2] / "experiments"


def experiment(name):
    """A script of experiments/ as a module; it is no package."""
    specification = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def call(monkeypatch, name, *words):
    monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
    return experiment(name).main()


def cell(bits, seed, accuracy):
    key = {"latent_layer": "27", "replays": "500", "bits": str(bits), "seed": str(seed)}
    rest = {"pairs_per_event": "5", "head": "cwr*", "minibatch": "128"}
    return key | rest | {"accuracy_percent": str(accuracy)}


def test_losses_are_paired_by_seed(tmp_path):
    # Seed 2 was learned at 8 bits only: it counts for the mean, and for no loss.
    cells = [cell(32, 0, 80), cell(32, 1, 70), cell(8, 0, 79), cell(8, 1, 71), cell(8, 2, 60)]
    experiment("replay_quantization").summarize(tmp_path, cells)
    table = {row["bits"]: row for row in json.loads((tmp_path / "table.json").read_text())}
    assert table[8]["seeds"] == 3
    assert table[8]["accuracy_percent_mean"] == 70
    assert table[8]["accuracy_percent_std"] == pytest.approx(np.std([79, 71, 60], ddof=1), abs=1e-3)
    assert table[8]["loss_points_mean"] == 0
    assert table[8]["loss_points_std"] == pytest.approx(np.sqrt(2), abs=1e-3)
    assert table[32]["loss_points_mean"] == 0
    assert "| 75.00 ± 7.07 | 70.00 ± 9.54 |" in (tmp_path / "table.md").read_text()


@pytest.mark.slow
def test_the_table_of_bits_goes_on_where_it_stopped(tmp_path, monkeypatch):
    words = (
        "--data",
        "synthetic:4x3x4",
        "--first-classes",
        2,
        "--replays",
        0,
        12,
        "--out",
        tmp_path,
        "--seeds",
        1,
    )
    call(monkeypatch, "replay_quantization", *words, "--bits", 8)
    before = (tmp_path / "cells.csv").read_text()
    call(monkeypatch, "replay_quantization", *words, "--bits", 8, 6)
    after = (tmp_path / "cells.csv").read_text()
    assert after.startswith(before)
    cells = list(csv.DictReader(after.splitlines()))
    # Without replays, no width but that of the frozen stage makes a difference.
    learned = [(int(row["replays"]), int(row["bits"])) for row in cells]
    assert learned == [(0, 8), (12, 8), (12, 6)]
    assert [int(row["replay_bytes"]) for row in cells] == [0, 12 * 1024, 12 * 1024 * 6 // 8]
    with pytest.raises(ValueError, match="holds cells with first_classes 2, not 3; choose another"):
        call(monkeypatch, "replay_quantization", *words, "--bits", 7, "--first-classes", 3)
    assert (tmp_path / "cells.csv").read_text() == after
    with Image.open(tmp_path / "accuracy_against_bits.png") as picture:
        assert min(picture.size) > 300


@pytest.mark.slow
def test_the_core50_experiment_runs_its_grid(tmp_path, monkeypatch):
    """CORe50's images are not at hand: generated ones, and a small network, take their place."""
    stream = synthetic.stream("4x3x4", (32, 32), cut.Rule(2, 1, 0))
    script, asked = experiment("core50_nicv2_391"), []

    def small(*setting):
        chosen = settings_of(*setting)
        asked.append(chosen)
        return dataclasses.replace(chosen, resolution=32, calibration_images=4)

    settings_of = script.settings_of
    monkeypatch.setattr(script, "settings_of", small)
    monkeypatch.setattr(session, "open_stream", lambda *_: stream)
    words = [
        "--data",
        "core50",
        "--weights",
        "random:0:0.25",
        "--latent-layers",
        "27",
        "--replays",
        "12",
        "0",
        "--bits",
        "8",
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", ["core50_nicv2_391", *words])
    assert script.main() == 0
    rows = json.loads((tmp_path / "table.json").read_text())
    assert [(row["replays"], row["bits"]) for row in rows] == [(12, 8), (0, 32), (0, 8)]
    assert all(0 <= row["accuracy_percent"] <= 100 for row in rows)
    assert [chosen.frozen for chosen in asked] == ["int8", "float32", "int8"]
    for chosen in asked:
        assert (chosen.stream.order, chosen.stream.reduced_test) == ("nicv2_391", True)
        assert chosen.protocol == presets.preset("ar1star-free").protocol


@pytest.mark.slow
def test_late_objects_are_learned_and_the_old_ones_counted(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    objects = ("ball", "cup", "hat", "key")
    colours = dict(zip(objects, random.integers(0, 255, (4, 3)), strict=True))
    for place in ("s1", "s2", "s3"):
        for name, colour in colours.items():
            (tmp_path / "data" / place / name).mkdir(parents=True)
            for frame in range(4):
                noise = random.integers(-30, 30, (40, 56, 3))
                pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / "data" / place / name / f"{frame}.png")
    words = (
        "--data",
        tmp_path / "data",
        "--test-sessions",
        3,
        "--unseen",
        2,
        "--groups",
        1,
        "--photos",
        6,
        "--out",
        tmp_path / "out",
    )
    assert call(monkeypatch, "own_photos", *words) == 0
    rows = json.loads((tmp_path / "out" / "table.json").read_text())
    assert [row["object"] for row in rows] == ["ball", "cup"]
    # The control, and with it the change of the old classes, stands at a group's last object.
    assert [row["control_old_percent"] is None for row in rows] == [True, False]
    assert all(row["new_percent"] >= 50 for row in rows)  # plain colours are easy
    assert rows[1]["old_percent_before"] == rows[0]["old_percent"]
    assert (tmp_path / "out" / "own_photos.png").exists()
