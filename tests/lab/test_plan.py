"""The design-space answer: fronts and recommendations by hand, costs from the chip's own table."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulpsim.event import event
from pulpsim.event.setting import EventSetting

from qlrjax import cli
from qlrjax.lab import accuracy, plan, plan_picture, plan_text, space, sweepfile, table
from qlrjax.network import mobilenet_v1


def measured(*accuracies):
    return accuracy.Measured({}, accuracies, 300, 50, "made up, 9 test images")


def costed(layer=27, replays=500, bits=8, accuracies=(), **figures):
    choice = plan.Choice("builtin", layer, replays, bits, "minibatch", "float32", 8, 128)
    values = {"memory_bytes": 1, "replay_bytes": 1, "seconds": 1.0, "joules": 1.0}
    values |= {"lifetime_hours": 1000.0, "fits_chip": True} | figures
    return plan.Costed(choice, measured=measured(*accuracies) if accuracies else None, **values)


def test_the_best_that_fits_and_why_the_next_does_not():
    cheap = costed(27, accuracies=(70.0, 72.0), memory_bytes=5_000_000)
    good = costed(25, accuracies=(80.0,), memory_bytes=30_000_000, seconds=50.0)
    better = costed(24, accuracies=(81.0,), memory_bytes=65_000_000, lifetime_hours=100.0)
    best = costed(23, accuracies=(90.0,), memory_bytes=80_000_000, seconds=99.0, fits_chip=False)
    limits = plan.Limits(64e6, 60.0, 500.0)
    found = plan.answer([best, cheap, better, good], limits)
    assert found.recommended is good
    assert [one for one, _ in found.better] == [better, best]
    assert found.better[0][1] == [
        "65.00 MB of memory, 64.00 MB allowed",
        "100 h of battery at 60 events an hour, 500 h asked for",
    ]
    assert len(found.better[1][1]) == 3
    text = plan_text.sentences(found)
    assert text[0].startswith("recommended: layer 25, 500 replays of 8 bits")
    assert "accuracy 80.0 (n = 1) %" in text[0]
    assert text[1].startswith("better is layer 24")
    assert plan_text.percent(cheap) == "71.0 ± 1.4 (n = 2)"


def test_of_equals_the_one_with_less_energy():
    one, other = costed(27, accuracies=(80.0,), joules=2.0), costed(26, accuracies=(80.0,))
    assert plan.answer([one, other], plan.Limits()).recommended is other


def test_where_nothing_fits_the_nearest_is_named():
    near, far = costed(27, memory_bytes=70_000_000), costed(20, memory_bytes=200_000_000)
    found = plan.answer([far, near], plan.Limits(memory_bytes=64e6))
    assert found.recommended is None
    assert found.nearest is near
    assert plan_text.sentences(found)[1] == "  but: 70.00 MB of memory, 64.00 MB allowed"
    slow = costed(27, seconds=90.0, lifetime_hours=0.0)
    found = plan.answer([slow], plan.Limits(lifetime_hours=10.0))
    assert found.nearest is slow
    assert "90 s an event are too long for 60 events an hour" in plan_text.sentences(found)[1]


def test_without_accuracy_what_is_better_is_said_to_be_assumed():
    points = itertools.product((20, 27), (1, 9), (6, 8))
    rows = [costed(*point) for point in points]
    found = plan.answer(rows, plan.Limits())
    assert found.recommended is not None
    chosen = found.recommended.choice
    assert (chosen.latent_layer, chosen.replays, chosen.bits) == (20, 9, 8)
    assert any("which is an assumption" in line for line in plan_text.provenance(found, []))


POINTS = st.lists(st.tuples(*(st.integers(0, 3) for _ in range(4))), min_size=1, max_size=12)


@given(POINTS)
def test_the_front_is_what_nothing_dominates(points):
    rows = [
        costed(accuracies=(float(a),), memory_bytes=m, seconds=float(s), joules=float(j))
        for a, m, s, j in points
    ]
    front = plan.pareto(rows)
    for row, (a, m, s, j) in zip(rows, points, strict=True):
        dominated = any(
            (oa >= a and om <= m and os <= s and oj <= j) and (oa, om, os, oj) != (a, m, s, j)
            for oa, om, os, oj in points
        )
        assert (row in front) == (not dominated)


def test_costs_are_those_of_the_chip_s_own_table():
    chip = space.load("vega")
    choice = plan.Choice("builtin", 26, 500, 7, "minibatch", "float32", 4, 64)
    learned = space.Event(images=90, epochs=2, classes=10)
    found, refused = space.cost([space.Candidate(choice, learned)], chip, 30.0)
    assert not refused
    network = mobilenet_v1(1.0, 128, 10)
    setting = EventSetting(
        network, 26, replays=500, bits=7, images=90, epochs=2, drop_remainder=False
    )
    changed = chip.replace(**{"cluster.cores": 4, "cluster.l1_bytes": 64 * 1024})
    expected = event.event_cost(setting, changed)
    assert found[0].seconds == expected.seconds
    assert found[0].joules == expected.joules
    assert found[0].memory_bytes == expected.memory.learning_bytes
    assert found[0].replay_bytes == 500 * -(-16384 * 7 // 8)
    assert found[0].lifetime_hours == expected.lifetime_hours(30.0)


def test_what_the_chip_refuses_is_said():
    chip = space.load("vega")
    learned = space.Event()
    wrong = [
        space.Candidate(
            plan.Choice("builtin", layer, 9, 8, "minibatch", "float32", 8, kib), learned
        )
        for layer, kib in ((99, 128), (27, 1))
    ]
    found, refused = space.cost(wrong, chip, 60.0)
    assert not found
    assert len(refused) == 2
    assert "layer 99" in refused[0]
    assert "1 KiB of L1" in refused[1]


def rows_of_a_sweep():
    """A table as a sweep writes it, with made-up accuracies."""
    text = "seeds = 2\n[grid]\nlatent_layer = [26, 27]\nreplays = [50]\n" + (
        '[[zip]]\nbits = [32, 8]\nfrozen = ["float32", "int8"]'
    )
    tasks = sweepfile.parse(text).tasks
    figures = {
        "images_later_event": 100,
        "images_first_event": 200,
        "classes": 10,
        "events": 39,
        "data": "Fashion-MNIST",
        "test_images": 1000,
    }
    done = {}
    for task in tasks:
        accuracy_percent = 70.0 + 10 * (task.settings.latent_layer == 26) + task.settings.seed
        done[task.id] = {"figures": {"accuracy_percent": accuracy_percent, **figures}}
    return tasks, done


def test_accuracies_come_from_a_sweep_s_table(tmp_path, capsys):
    tasks, done = rows_of_a_sweep()
    (tmp_path / "table.csv").write_text(table.csv_text(table.rows(tasks, done)))
    picture = tmp_path / "plan.png"
    words = ["plan", "--accuracies", str(tmp_path / "table.csv"), "--json"]
    assert cli.main([*words, "--memory", "64MB", "--picture", str(picture)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recommended"]["latent_layer"] == 26
    assert found["recommended"]["accuracy_percent"] == 80.5
    assert found["recommended"]["accuracy_spread_points"] == pytest.approx(np.std([0, 1], ddof=1))
    assert len(found["choices"]) == 2  # float replays are left out, and that is said
    assert "2 settings of the sweep with float replays" in found["notes"][0]
    assert any("Fashion-MNIST, 1000 test images" in line for line in found["sources"])
    assert picture.read_bytes().startswith(b"\x89PNG")
    # Too little for layer 26: layer 27 it is, and why.
    limit = (found["recommended"]["memory_bytes"] - 1) / 1e6
    assert cli.main([*words[:-1], "--memory", f"{limit:.6f}MB"]) == 0
    out = capsys.readouterr().out
    assert "recommended: layer 27" in out
    assert "better is layer 26" in out
    assert "does not fit" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--memory", "lots"], "--memory is 'lots'; give a number with a unit"),
        (["--event-latency", "3 parsecs"], "--event-latency is '3 parsecs'"),
        (["--lifetime", "-5h"], "--lifetime"),
        (["--memory", "0MB"], "--memory is '0MB'"),
        (["--events-per-hour", "0"], "events an hour"),
        (["--platform", "eniac"], "eniac"),
        (["--accuracies", "nowhere"], "nowhere"),
        (["--cores", *map(str, range(1, 99)), "--l1-kib", *map(str, range(1, 99))], "more than"),
    ],
)
def test_bad_input_is_named(words, sentence, capsys):
    assert cli.main(["plan", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_nothing_fits_is_exit_code_1(capsys):
    words = ["plan", "--memory", "1kB", "--latent-layers", "27", "--replays", "100"]
    assert cli.main(words) == 1
    assert "nothing fits; nearest is layer 27" in capsys.readouterr().out


def test_quantities():
    assert plan_units("64MB") == 64e6
    assert plan_units("1.5 MiB") == 1.5 * 2**20


def plan_units(text):
    from qlrjax.cli import plan as command

    return command.quantity("--memory", text, command._BYTES, "64MB")


@pytest.mark.long
def test_the_whole_space_is_answered():
    chip = space.load("vega")
    candidates = [space.Candidate(c, space.Event()) for c in space.enumerated(space.Space(), chip)]
    found, refused = space.cost(candidates, chip, 60.0)
    answer = plan.answer(found, plan.Limits(64e6, 60.0, 500.0))
    assert len(found) == 8 * 6 * 3
    assert not refused
    assert answer.recommended is not None or answer.nearest is not None
    assert plan_picture.picture(answer, "vega").startswith(b"\x89PNG")
