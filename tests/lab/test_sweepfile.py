"""What a sweep file asks for, and what is said of one that asks for something impossible."""

import itertools

import pytest

from qlrjax import settings as settings_file
from qlrjax.lab import sweepfile
from qlrjax.settings import Settings

WHOLE = """
title = "bits"
seeds = 2
[settings]
evaluate_every = 10
[settings.stream]
pairs_per_event = 5
[grid]
latent_layer = [23, 27]
"protocol.epochs" = [1, 4]
"stream.test_sessions" = [[], [3, 7]]
[[zip]]
bits = [32, 8]
frozen = ["float32", "int8"]
[[list]]
name = "replays"
replays = 40
[[list]]
name = "none"
replays = 0
[[except]]
replays = 0
bits = [32, 7]
"""


def test_axes_cases_and_exceptions_make_the_tasks():
    sweep = sweepfile.parse(WHOLE)
    made = {
        (
            task.case,
            task.settings.seed,
            task.settings.latent_layer,
            task.settings.protocol.epochs,
            task.settings.stream.test_sessions,
            task.settings.bits,
            task.settings.frozen,
        )
        for task in sweep.tasks
    }
    pairs = [(32, "float32"), (8, "int8")]
    whole = itertools.product(("replays", "none"), (0, 1), (23, 27), (1, 4), ((), (3, 7)), pairs)
    expected = {(*row, *pair) for *row, pair in whole if (row[0], pair[0]) != ("none", 32)}
    assert made == expected
    assert len(sweep.tasks) == len(expected)
    assert all(task.settings.evaluate_every == 10 for task in sweep.tasks)
    assert all(task.settings.stream.pairs_per_event == 5 for task in sweep.tasks)
    assert {task.settings.replays for task in sweep.tasks if task.case == "none"} == {0}
    seeds = [task.settings.seed for task in sweep.tasks]
    assert seeds == sorted(seeds)  # one seed of everything is there first


def test_an_id_names_what_is_learned():
    base = sweepfile.parse("").tasks[0]
    assert base.settings == Settings()
    same = ("[settings]\ncheckpoint_every = 9", '[settings.stream]\ndata = "elsewhere"')
    other = ("[settings]\nreplays = 9", "seeds = [4]", "[settings.protocol]\nepochs = 9")
    assert {sweepfile.parse(text).tasks[0].id for text in same} == {base.id}
    ids = {sweepfile.parse(text).tasks[0].id for text in other}
    assert len(ids | {base.id}) == 4
    # Data that is an axis does decide.
    two = sweepfile.parse('[grid]\n"stream.data" = ["builtin", "synthetic:3x4x6"]')
    assert len({task.id for task in two.tasks}) == 2


def test_the_same_session_twice_is_one_task():
    assert len(sweepfile.parse("[grid]\nreplays = [5, 5]").tasks) == 1


def test_a_row_holds_every_setting():
    task = sweepfile.parse('[grid]\n"stream.test_sessions" = [[3, 7]]').tasks[0]
    row = sweepfile.flat(task.settings)
    assert row["stream.test_sessions"] == "[3, 7]"
    values = settings_file.to_dict(task.settings)
    nested = sum(len(v) if isinstance(v, dict) else 1 for v in values.values())
    assert len(row) == nested


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seeds = ", "this is not TOML"),
        ("sedes = 3", "unknown key 'sedes'"),
        ("seeds = 0", "seeds is 0; give how many"),
        ("seeds = [1.5]", "give how many, or a list"),
        ('preset = "best"', "there is no preset 'best'"),
        ("[grid]\nbits = 8", "the axis bits is 8; give a list"),
        ("[grid]\nbits = []", "the axis bits is"),
        ("[grid]\nbits = [9]", "9"),
        ("[grid]\nbist = [8]", "unknown setting 'bist'"),
        ("[grid]\nseed = [8]", "seed is no axis"),
        ("[grid]\nbits = [8]\n[[zip]]\nbits = [7]", "bits is an axis twice"),
        ('[[zip]]\nbits = [8]\nfrozen = ["int8", "int8"]', "different lengths"),
        ("[settings]\nreplays = -1", "replays is -1"),
        ('[settings]\nreplays = "many"', "setting 'replays' is 'many'"),
        ("[[except]]\nreplys = 0", "unknown setting 'replys'"),
        ("[[except]]\nreplays = 500", "leaves everything out"),
        ("list = 3", "write it as tables"),
        ("grid = 3", "write it as a table"),
        ("[[list]]\nname = 3", "give text"),
        (
            f"[grid]\nreplays = {list(range(400))}\ncalibration_images = {list(range(1, 400))}",
            "these are 159600 sessions, more than 20000",
        ),
    ],
)
def test_what_is_wrong_is_said(text, sentence, tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"sweep\.toml") as raised:
        sweepfile.load(path)
    assert sentence in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.toml cannot be read"):
        sweepfile.load(tmp_path / "none.toml")
