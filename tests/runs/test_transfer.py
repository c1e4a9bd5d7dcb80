"""A run in one file: goes on elsewhere bit for bit; damaged and crafted files are refused."""

import dataclasses
import hashlib
import io
import json
import shutil
import zipfile

import numpy as np
import pytest
from support import toy
from support.toy import assert_same, save_run

from qlrjax.runs import checkpoint, fingerprint, manifest, transfer

FILES = ("settings.toml", "frozen.npz")


def unpack(path, folder, names=()):
    packed = transfer.read(path, names)
    transfer.unpack(packed, folder)
    return packed.described


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_run(folder / "checkpoints", 3)
    (folder / "settings.toml").write_text("seed = 3\n")
    (folder / "frozen.npz").write_bytes(bytes(range(256)))
    path = folder / "moved.npz"
    assert transfer.pack(folder, path, FILES) == ()
    return path


def test_a_moved_run_goes_on_bit_for_bit(packed, tmp_path):
    described = unpack(packed, tmp_path, FILES)
    assert (described.step, described.settings) == (3, toy.SETTINGS)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (packed.parent / name).read_bytes()
    restored = checkpoint.restore(tmp_path / "checkpoints", toy.start(), toy.SETTINGS)
    assert restored.notes == ()
    state, records = restored.state, list(restored.records)
    for _ in range(2):
        state, record = toy.learn(state)
        records.append(record)
    straight, log = toy.run(5)
    assert_same(state, straight)
    assert records == log


def test_the_same_run_is_the_same_file(packed, tmp_path):
    again = tmp_path / "again.npz"
    transfer.pack(packed.parent, again, FILES)
    assert again.read_bytes() == packed.read_bytes()


def test_numpy_opens_it_without_pickle(packed):
    with np.load(packed, allow_pickle=False) as archive:
        weight = archive["state/params/w"]
        about = json.loads(archive["manifest"].tobytes())
    assert weight.tobytes() == np.asarray(toy.run(3)[0].params["w"]).tobytes()
    assert about["settings"] == toy.SETTINGS
    assert about["leaves"]["params/w"]["sha256"] == hashlib.sha256(weight.tobytes()).hexdigest()


def test_the_other_machine_is_told_at_once(packed, tmp_path, monkeypatch):
    here = fingerprint.take()
    unpack(packed, tmp_path, FILES)
    monkeypatch.setattr(fingerprint, "take", lambda: {**here, "processor": "another"})
    (note,) = checkpoint.restore(tmp_path / "checkpoints", toy.start(), toy.SETTINGS).notes
    assert "processor was" in note


def test_a_run_is_not_written_over(packed, tmp_path):
    (tmp_path / "frozen.npz").write_text("mine")
    with pytest.raises(ValueError, match=r"holds a run already \(frozen.npz\)"):
        unpack(packed, tmp_path, FILES)


def test_a_run_without_checkpoints_cannot_be_exported(tmp_path):
    with pytest.raises(ValueError, match="holds no checkpoint"):
        transfer.pack(tmp_path, tmp_path / "x.npz")


def test_damage_is_passed_over_when_exporting(packed, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(packed.parent, run)
    (run / "checkpoints/00000003/manifest.json").unlink()
    (note,) = transfer.pack(run, tmp_path / "x.npz", FILES)
    assert "00000003 is damaged" in note
    assert unpack(tmp_path / "x.npz", tmp_path / "new", FILES).step == 2


def test_a_failed_export_leaves_no_half_file(packed, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    target = tmp_path / "x.npz"
    target.write_text("old")
    with pytest.raises(OSError, match="No space"):
        transfer.pack(packed.parent, target, FILES)
    assert target.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.npz"]


@pytest.mark.slow
def test_random_damage_is_detected_or_harmless(packed, tmp_path):
    """Harmless: zip has fields that nobody reads, such as the dates of its members."""
    rng, data = np.random.default_rng(5), packed.read_bytes()
    straight = toy.run(3)[0]
    detected = harmless = 0
    for turn in range(220):
        broken = bytearray(data)
        if turn % 4 == 3:
            del broken[int(rng.integers(len(data))) :]
        else:
            broken[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        path, folder = tmp_path / "broken.npz", tmp_path / "run"
        path.write_bytes(broken)
        try:
            unpack(path, folder, FILES)
        except ValueError:
            assert not folder.exists()
            detected += 1
            continue
        restored = checkpoint.restore(folder / "checkpoints", toy.start(), toy.SETTINGS)
        assert_same(restored.state, straight)
        for name in FILES:
            assert (folder / name).read_bytes() == (packed.parent / name).read_bytes()
        harmless += 1
        shutil.rmtree(folder)
    assert detected > 150
    assert detected + harmless == 220


def members(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def crafted(packed, path, change, compress=zipfile.ZIP_STORED):
    """A file as someone who can compute digests would write it."""
    content = members(packed)
    about = manifest.decode(np.load(io.BytesIO(content["manifest.npy"])).tobytes())
    about = change(content, about) or about
    values = dataclasses.asdict(about)
    values["settings_sha256"] = manifest.settings_digest(about.settings)
    data = json.dumps(values).encode()
    content["manifest.npy"] = npy(np.frombuffer(data, np.uint8))
    digest = hashlib.sha256(data).hexdigest().encode()
    content["manifest_sha256.npy"] = npy(np.frombuffer(digest, np.uint8))
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, member in content.items():
            archive.writestr(name, member)


def pickled(content, about):
    content["state/params/w.npy"] = npy(np.asarray([{"a": 1}], object))


def another_leaf(content, about):
    content["state/params/w.npy"] = npy(np.zeros((5, 3), np.float32))


def wrong_type(content, about):
    content["state/params/w.npy"] = npy(np.zeros((5, 3), np.int32))


def huge_header(content, about):
    content["state/params/w.npy"] = npy(np.zeros((5, 3), np.float32)).replace(
        b"(5, 3)", b"(2305843009213693951, 8)"
    )


def no_header(content, about):
    content["state/params/w.npy"] = b"PK\3\4"


def missing_leaf(content, about):
    del content["state/params/w.npy"]


def more_files(content, about):
    data = b"evil"
    content["files/run.lock.npy"] = npy(np.frombuffer(data, np.uint8))
    file = manifest.File(4, hashlib.sha256(data).hexdigest())
    return dataclasses.replace(about, files={**about.files, "files/run.lock.npy": file})


def fewer_files(content, about):
    return dataclasses.replace(about, files={})


def escaping_file(content, about):
    file = manifest.File(4, 64 * "0")
    return dataclasses.replace(about, files={**about.files, "../../x.npy": file})


def step_too_large(content, about):
    return dataclasses.replace(about, step=10**8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (pickled, "holds object, not float32"),
        (another_leaf, "leaf params/w does not have the digest"),
        (wrong_type, "holds int32, not float32"),
        (huge_header, "not an intact"),
        (no_header, "not an intact"),
        (missing_leaf, "no item named"),
        (more_files, "its files are"),
        (fewer_files, "its files are"),
        (escaping_file, "not a path inside"),
    ],
)
def test_crafted_files_are_refused(packed, tmp_path, change, said):
    crafted(packed, tmp_path / "x.npz", change)
    with pytest.raises(ValueError, match=said):
        unpack(tmp_path / "x.npz", tmp_path / "run", FILES)
    assert not (tmp_path / "run").exists()


def test_a_step_that_no_folder_can_have_is_refused(packed, tmp_path):
    crafted(packed, tmp_path / "x.npz", step_too_large)
    with pytest.raises(ValueError, match="step 100000000"):
        unpack(tmp_path / "x.npz", tmp_path / "run", FILES)


def test_compressed_members_are_refused_unread(packed, tmp_path):
    def bomb(content, about):
        content["bomb.npy"] = bytes(10**7)

    crafted(packed, tmp_path / "x.npz", bomb, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="its members are compressed"):
        unpack(tmp_path / "x.npz", tmp_path / "run", FILES)


def test_types_that_numpy_has_no_name_for_are_moved(tmp_path):
    state = {"a": toy.jnp.asarray([1.5, -2.0], toy.jnp.bfloat16), "z": toy.jnp.zeros((0, 3))}
    checkpoint.save(tmp_path / "run/checkpoints", 0, state, {}, [])
    transfer.pack(tmp_path / "run", tmp_path / "x.npz")
    unpack(tmp_path / "x.npz", tmp_path / "new")
    assert_same(checkpoint.restore(tmp_path / "new/checkpoints", state, {}).state, state)


def test_an_import_that_fails_can_be_tried_again(packed, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.snapshot, "write", full)
        with pytest.raises(checkpoint.SaveFailed, match="No space"):
            unpack(packed, tmp_path, FILES)
    assert list(tmp_path.iterdir()) == []
    assert unpack(packed, tmp_path, FILES).step == 3


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        unpack(tmp_path / "none.npz", tmp_path / "run")
