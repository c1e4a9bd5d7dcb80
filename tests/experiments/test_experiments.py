"""The experiments that make the accuracy figures: their tables are right, and they go on."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qlrjax import presets, settings
from qlrjax.lab import sweepfile

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


def test_the_table_of_bits_puts_sweeps_and_older_cells_together(tmp_path, monkeypatch):
    task = next(
        one for one in sweep("fashion_bits").tasks if one.case.startswith("500 replays, CWR")
    )
    row = {"task": task.id, "case": task.case, **sweepfile.flat(task.settings)}
    row |= {"accuracy_percent": 80.0}
    older = "latent_layer,replays,bits,seed,pairs_per_event,head,minibatch,accuracy_percent\n"
    (tmp_path / "cells.csv").write_text(older + "27,500,8,0,1,cwr*,128,79.5\n")
    script = experiment("replay_quantization")
    monkeypatch.setattr(script.table, "read", lambda folder: [row])
    (tmp_path / "sweep").mkdir()
    words = [str(tmp_path / "sweep"), str(tmp_path / "cells.csv")]
    monkeypatch.setattr(sys, "argv", ["replay_quantization", *words])
    script.main()
    (first, second) = json.loads((tmp_path / "sweep" / "table.json").read_text())
    assert (first["bits"], first["accuracy_percent_mean"]) == (32, 80.0)
    assert (second["bits"], second["loss_points_mean"]) == (8, 0.5)
    with Image.open(tmp_path / "sweep" / "accuracy_against_bits.png") as picture:
        assert min(picture.size) > 300


def test_the_sweeps_of_bits_hold_the_published_cells():
    for name in ("fashion", "scenes50"):
        asked = {
            (task.settings.latent_layer, task.settings.replays, task.settings.bits)
            for part in (("bits",) if name == "fashion" else ("bits", "unmeasured"))
            for task in sweep(f"{name}_{part}").tasks
        }
        with (FOLDER / "results" / f"{name}_cells.csv").open(newline="") as file:
            cells = [row for row in csv.DictReader(file) if int(row["bits"]) not in (4, 5)]
        learned = {(int(c["latent_layer"]), int(c["replays"]), int(c["bits"])) for c in cells}
        assert learned <= asked | {(27, 0, 32)}


def sweep(name, **options):
    return sweepfile.load(FOLDER / "sweeps" / f"{name}.toml", **options)


def test_every_sweep_file_is_one():
    for path in sorted((FOLDER / "sweeps").glob("*.toml")):
        assert sweepfile.load(path).tasks
        assert f"experiments/sweeps/{path.name}" in path.read_text()  # its own command


def test_the_core50_sweep_is_the_paper_s_setting():
    tasks = sweep("core50_nicv2_391", data="core50:elsewhere").tasks
    asked = [(task.settings.replays, task.settings.bits, task.settings.frozen) for task in tasks]
    widths = [(32, "float32"), (8, "int8"), (7, "int8"), (6, "int8")]
    assert asked == [(r, *w) for r in (1500, 500) for w in widths] + [(0, *w) for w in widths[:2]]
    for task in tasks:
        stream = task.settings.stream
        assert (stream.data, stream.order, stream.run) == ("core50:elsewhere", "nicv2_391", 0)
        assert stream.reduced_test
        assert task.settings.protocol == presets.preset("ar1star-free").protocol
    assert {task.id for task in tasks} == {task.id for task in sweep("core50_nicv2_391").tasks}


def test_the_ablation_changes_one_thing_a_case():
    full, *others = sweep("ablation").tasks
    assert (full.settings.latent_layer, full.settings.replays) == (25, 500)
    for task in others:
        changed = settings.differences(full.settings, task.settings)
        assert 1 <= len(changed) <= 2, (task.case, changed)
    assert len({task.id for task in (full, *others)}) == 10


def test_the_ablation_is_drawn_from_a_table(tmp_path, monkeypatch):
    rows = [
        {
            "task": "a",
            "case": "full",
            "seed": 0,
            "accuracy_percent": 83.6,
            "forgetting_points": 1.0,
        },
        {
            "task": "b",
            "case": "less",
            "seed": 0,
            "accuracy_percent": 50.0,
            "forgetting_points": 9.0,
        },
    ]
    script = experiment("ablation")
    monkeypatch.setattr(script.table, "read", lambda folder: rows)
    monkeypatch.setattr(sys, "argv", ["ablation", str(tmp_path)])
    script.main()
    drawn = list(csv.DictReader((tmp_path / "ablation.csv").read_text().splitlines()))
    assert [(row["variant"], row["accuracy_percent"]) for row in drawn] == [
        ("full", "83.6"),
        ("less", "50.0"),
    ]
    with Image.open(tmp_path / "ablation.png") as picture:
        assert min(picture.size) > 300


@pytest.mark.long
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
