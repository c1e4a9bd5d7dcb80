"""Checkpoints: exact, whole or absent, refused when they are of another run."""

import hashlib
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import toy
from support.toy import assert_same, save_run

from qlrjax.runs import checkpoint, fingerprint, leaves, manifest, snapshot
from qlrjax.runs.saver import Saver


def test_a_restored_run_goes_on_as_if_it_had_never_stopped(tmp_path):
    save_run(tmp_path, 3)
    restored = checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)
    state, records = restored.state, list(restored.records)
    for _ in range(4):
        state, record = toy.learn(state)
        records.append(record)
    straight, log = toy.run(7)
    assert_same(state, straight)
    assert records == log
    assert (restored.step, restored.extra, restored.notes) == (3, {"names": ["é"]}, ())


def test_a_template_of_shapes_is_enough(tmp_path):
    state, _ = save_run(tmp_path, 1)
    shapes = jax.eval_shape(toy.start)
    assert_same(checkpoint.restore(tmp_path, shapes, toy.SETTINGS).state, state)


def test_the_newest_checkpoints_stay_and_those_that_are_spared(tmp_path):
    state, records = save_run(tmp_path, 5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000004", "00000005"]
    for step in (6, 7, 8):
        checkpoint.save(tmp_path, step, state, toy.SETTINGS, records, spare=(4,))
    assert checkpoint.steps(tmp_path) == [4, 7, 8]
    checkpoint.save(tmp_path, 9, state, toy.SETTINGS, records)
    assert checkpoint.steps(tmp_path) == [8, 9]


def test_no_checkpoint_is_no_error(tmp_path):
    assert checkpoint.restore(tmp_path / "none", toy.start(), toy.SETTINGS) is None
    assert checkpoint.peek(tmp_path) is None


def test_steps_only_grow(tmp_path):
    state, records = save_run(tmp_path, 2)
    with pytest.raises(ValueError, match="step 2 does not follow"):
        checkpoint.save(tmp_path, 2, state, toy.SETTINGS, records)


def test_other_settings_are_refused_by_name(tmp_path):
    save_run(tmp_path, 1)
    other = {**toy.SETTINGS, "protocol": {"epochs": 3, "rate": 0.125}, "new": [1]}
    with pytest.raises(checkpoint.SettingsMismatch) as error:
        checkpoint.restore(tmp_path, toy.start(), other)
    assert "protocol.epochs was 2, is 3" in str(error.value)
    assert "new was 'not there', is [1]" in str(error.value)
    assert checkpoint.steps(tmp_path) == [1]  # a mismatch is no damage
    free = checkpoint.restore(tmp_path, toy.start(), {**toy.SETTINGS, "every": 5}, free=("every",))
    assert free.step == 1


@pytest.mark.parametrize(
    ("rows", "bits", "named"),
    [
        (8, 6, r"memory/data was \['uint8', 7, 11\], is \['uint8', 8, 11\]"),
        (7, 5, "memory/bits was 6, is 5"),
    ],
)
def test_another_state_under_equal_settings_is_refused(tmp_path, rows, bits, named):
    save_run(tmp_path, 1)
    with pytest.raises(checkpoint.SettingsMismatch, match=named):
        checkpoint.restore(tmp_path, toy.start(rows, bits), toy.SETTINGS)


def test_another_machine_is_told_but_not_refused(tmp_path, monkeypatch):
    save_run(tmp_path, 1)
    here = fingerprint.take()
    assert fingerprint.differences(here, fingerprint.take()) == ()
    monkeypatch.setattr(fingerprint, "take", lambda: {**here, "jaxlib": "0.0", "XLA_FLAGS": "--x"})
    (note,) = checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS).notes
    assert f"jaxlib was {here['jaxlib']}, is 0.0" in note
    assert "XLA_FLAGS was empty, is --x" in note
    assert "no longer promised" in note


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_is_used(tmp_path):
    save_run(tmp_path, 4)
    for turn in (1, 2):
        (tmp_path / "00000004/records.jsonl").write_text("")
        restored = checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)
        assert restored.step == 3
        assert len(restored.records) == 3
        assert f"00000004.corrupt-{turn}" in restored.notes[0]
        assert (tmp_path / f"00000004.corrupt-{turn}").is_dir()
        state, record = toy.learn(restored.state)
        records = [*restored.records, record]
        checkpoint.save(tmp_path, 4, state, toy.SETTINGS, records)
    assert_same(checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS).state, toy.run(4)[0])


def test_none_intact_is_a_named_error_now_and_later(tmp_path):
    save_run(tmp_path, 3)
    for step in (2, 3):
        (tmp_path / f"{step:08d}/manifest.json").unlink()
    with pytest.raises(checkpoint.CorruptCheckpoint, match=r"no checkpoint in .* is intact"):
        checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)
    with pytest.raises(checkpoint.CorruptCheckpoint, match="all were set aside"):
        checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)


def test_leftovers_of_a_killed_save_are_ignored_and_swept(tmp_path):
    state, records = save_run(tmp_path, 2)
    shutil.copytree(tmp_path / "00000002", tmp_path / ".draft-00000003")
    (tmp_path / ".trash-00000000/state").mkdir(parents=True)
    assert checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS).step == 2
    checkpoint.save(tmp_path, 3, state, toy.SETTINGS, records)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000002", "00000003"]


def test_strange_files_inside_are_damage_and_hidden_ones_are_not(tmp_path):
    save_run(tmp_path, 3)
    (tmp_path / "00000003/state/.DS_Store").write_bytes(b"x")
    assert checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS).step == 3
    (tmp_path / "00000003/state/extra").write_bytes(b"x")
    restored = checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)
    assert restored.step == 2
    assert "state/extra is not part of it" in restored.notes[0]


@pytest.mark.parametrize("name", ["manifest.json", "manifest.json.sha256", "records.jsonl"])
def test_pipes_and_devices_are_damage_and_are_not_read(tmp_path, name):
    save_run(tmp_path, 2)
    (tmp_path / "00000002" / name).unlink()
    (tmp_path / "00000002" / name).symlink_to("/dev/zero")
    (tmp_path / "00000001" / name).unlink()
    os.mkfifo(tmp_path / "00000001" / name)
    with pytest.raises(checkpoint.CorruptCheckpoint, match="is not a plain file"):
        checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)


def test_links_are_damage(tmp_path):
    save_run(tmp_path, 3)
    log = tmp_path / "00000003/records.jsonl"
    log.rename(tmp_path / "elsewhere")
    log.symlink_to(tmp_path / "elsewhere")
    assert checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS).step == 2
    state = tmp_path / "00000002/state"
    (state / "outside").symlink_to("/")
    with pytest.raises(checkpoint.CorruptCheckpoint, match="outside is not part of it"):
        checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)


def rewrite_manifest(place, change):
    """What someone who can compute digests would leave behind."""
    values = json.loads((place / "manifest.json").read_text())
    change(values)
    data = json.dumps(values).encode()
    (place / "manifest.json").write_bytes(data)
    line = f"{hashlib.sha256(data).hexdigest()}  manifest.json\n"
    (place / "manifest.json.sha256").write_text(line)


def test_a_leaf_that_is_not_the_noted_one_is_damage_though_every_file_is(tmp_path):
    save_run(tmp_path, 3)

    def change(values):
        values["leaves"]["params/w"]["sha256"] = 64 * "0"

    rewrite_manifest(tmp_path / "00000003", change)
    restored = checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)
    assert restored.step == 2
    assert "leaf params/w does not have the digest" in restored.notes[0]


def test_a_huge_leaf_is_refused_before_memory_is_taken(tmp_path):
    save_run(tmp_path, 1)

    def change(values):
        values["leaves"]["params/w"]["shape"] = [2**40, 2**20]

    rewrite_manifest(tmp_path / "00000001", change)
    with pytest.raises(checkpoint.SettingsMismatch, match="params/w was"):
        checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)
    with pytest.raises(checkpoint.CorruptCheckpoint, match="more memory than there is"):
        checkpoint.read_newest(tmp_path, lambda described: None)


def test_a_later_format_is_not_damage(tmp_path):
    save_run(tmp_path, 1)
    rewrite_manifest(tmp_path / "00000001", lambda values: values.update(schema=3))
    with pytest.raises(manifest.UnknownSchema, match="format 3, this qlrjax reads format 2"):
        checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)
    assert checkpoint.steps(tmp_path) == [1]


def test_an_orbax_that_cannot_read_intact_files_is_not_damage(tmp_path, monkeypatch):
    save_run(tmp_path, 1)

    def refuse(*_):
        raise KeyError("new format")

    monkeypatch.setattr(snapshot.ocp, "load", refuse)
    with pytest.raises(ValueError, match="intact, but Orbax cannot read it"):
        checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)
    assert checkpoint.steps(tmp_path) == [1]


@pytest.mark.parametrize("small", [0, 1, 24, 2**20])
def test_leaves_of_any_size_and_type_come_back_alone_or_together(tmp_path, monkeypatch, small):
    """Odd sizes put the next leaf where its type would not be aligned; 0 is the older format's."""
    monkeypatch.setattr(snapshot, "_SMALL_BYTES", small)
    state = {
        "flag": jnp.asarray([True, False, True]),
        "number": jnp.asarray(3, jnp.int32),
        "none": jnp.zeros((0, 5), jnp.float32),
        "codes": jnp.arange(7, dtype=jnp.uint8),
        "weights": jnp.asarray([[1.5, -2.0, 3.25], [jnp.inf, -0.0, 1e-38]], jnp.float32),
        "halves": jnp.asarray([0.5, 65504.0, -1.0], jnp.float16),
    }
    checkpoint.save(tmp_path, 1, state, toy.SETTINGS, [])
    assert_same(checkpoint.restore(tmp_path, state, toy.SETTINGS).state, state)


def test_peek_tells_what_restore_will_use(tmp_path):
    save_run(tmp_path, 2)
    assert (checkpoint.peek(tmp_path).step, checkpoint.peek(tmp_path).settings) == (2, toy.SETTINGS)
    shutil.rmtree(tmp_path / "00000002/state")
    assert checkpoint.peek(tmp_path).step == 1
    assert checkpoint.steps(tmp_path) == [1, 2]  # only restore sets aside


def test_damage_goes_before_a_mismatch(tmp_path):
    """As when the newest, damaged checkpoint has learned one class more than the one before."""
    state, records = save_run(tmp_path, 2)
    more = state.replace(params={**state.params, "b": jnp.zeros((4,))})
    checkpoint.save(tmp_path, 3, more, toy.SETTINGS, records)
    (tmp_path / "00000003/records.jsonl").write_text("damaged")
    restored = checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS)
    assert (restored.step, len(restored.notes)) == (2, 1)


def test_the_manifest_says_what_the_issue_asks_for(tmp_path):
    state, _ = save_run(tmp_path, 1)
    described = checkpoint.peek(tmp_path)
    assert described.schema == manifest.SCHEMA
    assert {
        "jax",
        "jaxlib",
        "flax",
        "numpy",
        "orbax-checkpoint",
        "cpus",
        "XLA_FLAGS",
        "platform",
    } <= set(described.fingerprint)
    assert int(described.fingerprint["cpus"]) == len(os.sched_getaffinity(0))
    weight = described.leaves["params/w"]
    assert (weight.shape, weight.dtype) == ((5, 3), "float32")
    data = np.asarray(state.params["w"]).tobytes()
    assert weight.sha256 == hashlib.sha256(data).hexdigest()


def test_the_saver_writes_what_was_there_when_it_was_asked(tmp_path):
    """Learning consumes the state (its buffers are donated) while the checkpoint is written."""
    logs = []
    state, records = toy.start(), []
    with Saver(tmp_path, toy.SETTINGS, on_saved=lambda log: logs.append(len(log))) as saver:
        for step in range(1, 6):
            state, record = toy.learn(state)
            records.append(record)
            saver.save(step, state, records)
    assert logs == [1, 2, 3, 4, 5]
    assert_same(checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS).state, toy.run(5)[0])
    (tmp_path / "00000005/manifest.json").unlink()
    assert_same(checkpoint.restore(tmp_path, toy.start(), toy.SETTINGS).state, toy.run(4)[0])


def save_twice(folder, trouble=False):
    with Saver(folder, toy.SETTINGS) as saver:
        saver.save(1, toy.start(), [])
        if trouble:
            raise KeyError("the caller's own trouble")
        saver.save(2, toy.start(), [])


def test_the_saver_reports_a_failure_at_the_next_call(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.write_text("a file in the way")
    with pytest.raises(checkpoint.SaveFailed, match="checkpoint 1 could not be written"):
        save_twice(folder)
    with pytest.raises(KeyError) as other:
        save_twice(folder, trouble=True)
    assert "there is no earlier one" in other.value.__notes__[0]


def test_the_saver_reports_a_failure_at_its_end(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.write_text("a file in the way")
    saver = Saver(folder, toy.SETTINGS)
    saver.save(1, toy.start(), [])
    with pytest.raises(checkpoint.SaveFailed, match="there is no earlier one"):
        saver.__exit__(None, None, None)


def test_leaves_that_are_no_arrays_of_numbers_are_refused_by_name():
    with pytest.raises(TypeError, match="a/1 is not an array of numbers"):
        leaves.describe({"a": [jnp.zeros(2), 3]})
    with pytest.raises(TypeError, match="key is not an array of numbers"):
        leaves.describe({"key": jax.random.key(0)})
    with pytest.raises(TypeError, match="two leaves are called a/b"):
        leaves.describe({"a": {"b": jnp.zeros(2)}, "a/b": jnp.zeros(2)})


def test_awkward_leaves_survive(tmp_path):
    state = {
        "bf16": jnp.asarray([1.5, -2.0], jnp.bfloat16),
        "nan": jnp.asarray([np.nan, -0.0, np.inf]),
        "flags": jnp.asarray([True, False]),
        "scalar": jnp.asarray(7, jnp.int32),
        "none": None,
        "empty": {},
    }
    checkpoint.save(tmp_path, 0, state, {}, [])
    assert_same(checkpoint.restore(tmp_path, state, {}).state, state)
    only_empty = {"z": jnp.zeros((0, 2))}
    checkpoint.save(tmp_path / "z", 0, only_empty, {}, [])
    assert_same(checkpoint.restore(tmp_path / "z", only_empty, {}).state, only_empty)
