"""Durable state of a run: whole or absent, checked before it is believed.

A folder holds the newest checkpoints, each a `snapshot` in a folder named by its step. One is
written under a hidden name and appears by a single rename, so a kill at any moment leaves it whole
or absent. Reading takes the newest intact one and sets damaged ones aside.
"""

import contextlib
import dataclasses
import os
import re
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qlrjax import files
from qlrjax.names import printable
from qlrjax.runs import aside, fingerprint, leaves, runfolder, same_run, snapshot, upgrade
from qlrjax.runs.manifest import Manifest
from qlrjax.runs.runfolder import Record
from qlrjax.runs.same_run import SettingsMismatch

_STEP = re.compile(r"[0-9]{8}")
_LEFT = re.compile(r"\.draft-[0-9]{8}|\.trash-[0-9]{8}(\.corrupt-[0-9]+)?")
# The newest, and one to fall back to.
_KEPT = 2
# How often a reader that holds no lock looks again when a learner has replaced what it was reading,
# and how often a failed draft is removed while its writers come to an end.
_TRIES = 20

__all__ = [
    "CorruptCheckpoint",
    "Restored",
    "SaveFailed",
    "SettingsMismatch",
    "about",
    "newest_manifest",
    "peek",
    "publish",
    "read_newest",
    "restore",
    "save",
    "steps",
]

Found = tuple[Manifest, dict[str, np.ndarray], tuple[dict[str, Any], ...], tuple[str, ...]]


class CorruptCheckpoint(ValueError):
    """There are checkpoints, and none of them is intact."""


class SaveFailed(OSError):
    """A checkpoint could not be written; earlier ones are as they were."""


@dataclasses.dataclass(frozen=True)
class Restored:
    """A run as its last intact checkpoint holds it.

    Attributes:
        state: The tree, all leaves jax arrays.
        step: Of the checkpoint.
        records: The log of events.
        extra: What `save` was given.
        notes: What the user should be told, one line each.
        damage: Those of the notes that say that a newer checkpoint was passed over.
    """

    state: Any
    step: int
    records: tuple[dict[str, Any], ...]
    extra: dict[str, Any]
    notes: tuple[str, ...]
    damage: tuple[str, ...] = ()


def save(
    folder: Path,
    step: int,
    state: Any,
    settings: Mapping[str, Any],
    records: Sequence[Record],
    extra: Mapping[str, Any] | None = None,
    spare: Collection[int] = (),
) -> None:
    """Writes a checkpoint and removes all but the newest two.

    Args:
        folder: Where checkpoints are; made if it is not there. One process at a time.
        step: Larger than every step in the folder, below 10^8.
        state: A tree of arrays.
        settings: In full, plain JSON.
        records: The log of events up to this step, plain JSON.
        extra: More plain JSON to keep.
        spare: Steps of older checkpoints that stay, too.

    Raises:
        ValueError: The step is not possible.
        SaveFailed: It could not be written; earlier checkpoints are as they were.
    """
    publish(folder, step, leaves.to_host(state), records, about(state, settings, extra), spare)


def restore(
    folder: Path,
    template: Any,
    settings: Mapping[str, Any],
    free: Collection[str] = (),
    at: int | None = None,
) -> Restored | None:
    """Reads the newest intact checkpoint; damaged ones are renamed to `*.corrupt-N`.

    Args:
        folder: Where checkpoints are. One process at a time.
        template: A tree like the saved one; leaves are arrays or jax.ShapeDtypeStruct.
        settings: Of this run, plain JSON.
        free: Dotted names of settings that may differ.
        at: The step of the one checkpoint to read, instead of the newest.

    Returns:
        What was restored, or None where no checkpoint is.

    Raises:
        CorruptCheckpoint: No checkpoint is intact.
        SettingsMismatch: The run has other settings or another shape; the fields are named.
        ValueError: Another version of qlrjax or Orbax wrote the checkpoint.
        OSError: The folder cannot be read.
    """
    wanted = leaves.describe(template)

    def accept(described: Manifest) -> None:
        named = upgrade.leaves(described.leaves, wanted)
        described = dataclasses.replace(described, leaves=named)
        same_run.check(described, template, wanted, settings, free)

    found = read_newest(folder, accept, steps(folder) if at is None else [at])
    if found is None:
        return None
    described, arrays, records, notes = found
    return Restored(
        state=leaves.from_host(template, upgrade.leaves(arrays, wanted)),
        step=described.step,
        records=records,
        extra=described.extra,
        notes=(*notes, *fingerprint_note(described, settings)),
        damage=notes,
    )


def read_newest(
    folder: Path, accept: Callable[[Manifest], None], among: Sequence[int] | None = None
) -> Found | None:
    """Manifest, leaves by path, log and notes of the newest intact checkpoint; see `restore`.

    Args:
        folder: See `restore`.
        accept: Raises if the manifest is not of the run that is asked for.
        among: Steps, ascending; all by default.

    Raises:
        CorruptCheckpoint: No checkpoint is intact.
        ValueError: Another version of qlrjax or Orbax wrote the checkpoint.
        OSError: The folder cannot be read.
    """
    notes: list[str] = []
    for _ in range(_TRIES):
        vanished = False
        for step in reversed(steps(folder) if among is None else among):
            place = folder.absolute() / f"{step:08d}"
            try:
                described = snapshot.verify(place)
                accept(described)
                arrays, records = snapshot.read(place, described)
            except snapshot.Damaged as damage:
                if not place.exists():  # whoever learns saved newer ones, and removed this one
                    vanished = True
                    continue
                notes.append(aside.set_aside(place, str(damage)))
                continue
            earlier = aside.earlier(folder, described.step, notes)
            return described, arrays, records, (*notes, *earlier)
        if not vanished or among is not None:
            break
    if notes or aside.earlier(folder, -1, notes):
        raise CorruptCheckpoint(
            f"no checkpoint in {printable(folder)} is intact ("
            f"{'; '.join(notes) or 'all were set aside'}); start the run anew, or put a good copy "
            "back"
        )
    return None


def peek(folder: Path) -> Manifest | None:
    """The manifest of the checkpoint that `restore` will use; None where none is intact.

    All files are verified, but no array is read and nothing is set aside.

    Raises:
        ValueError: Another version of qlrjax wrote it.
        OSError: The folder cannot be read.
    """
    for _ in range(_TRIES):
        there = steps(folder)
        for step in reversed(there):
            with contextlib.suppress(snapshot.Damaged):
                return snapshot.verify(folder / f"{step:08d}")
        if steps(folder) == there:
            break
    return None


def newest_manifest(folder: Path) -> Manifest | None:
    """The newest legible manifest of a folder, whatever the files it vouches for are like.

    Raises:
        ValueError: Another version of qlrjax wrote it.
        OSError: The folder cannot be read.
    """
    for step in reversed(steps(folder)):
        with contextlib.suppress(snapshot.Damaged):
            return snapshot.read_manifest(folder / f"{step:08d}")
    return None


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in a folder, ascending; none where there is no folder.

    Raises:
        OSError: The folder cannot be read.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(name) for name in names if _STEP.fullmatch(name))


def fingerprint_note(described: Manifest, settings: Mapping[str, Any]) -> list[str]:
    """One line when bitwise equality with the run that was saved cannot be promised here."""
    here = fingerprint.of_devices(fingerprint.take(), settings.get("devices", 1))
    changed = fingerprint.differences(described.fingerprint, here)
    if not changed:
        return []
    return [
        f"the run was saved on another machine or with other software ({'; '.join(changed)}): "
        "going on is valid, but bit-for-bit equality is no longer promised"
    ]


def publish(
    folder: Path,
    step: int,
    arrays: Mapping[str, np.ndarray],
    records: Sequence[Record],
    facts: Mapping[str, Any],
    spare: Collection[int] = (),
) -> None:
    """As `save`, of leaves by path and of facts for the manifest, see `about`."""
    earlier = _earlier(folder, step)
    if not max(earlier, default=-1) < step < 10**8:
        raise ValueError(f"step {step} does not follow the checkpoints {earlier} in {folder}")
    place = folder.absolute() / f"{step:08d}"
    draft = place.with_name(f".draft-{place.name}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        snapshot.write(draft, arrays, records, step=step, **facts)
        draft.rename(place)
        files.sync(folder)
    except Exception as error:  # Orbax reports a full disk in many ways
        _discard(draft)
        raise SaveFailed(_save_failed(folder, step, earlier, error)) from error
    for old in steps(folder)[:-_KEPT]:
        if old in spare:
            continue
        # A checkpoint too many is no reason to stop.
        with contextlib.suppress(OSError):
            runfolder.remove_folder(folder / f"{old:08d}")


def about(
    state: Any, settings: Mapping[str, Any], extra: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The fields of a manifest that `publish` needs: of the run and of this process."""
    taken = fingerprint.take()
    return {
        "settings": dict(settings),
        "extra": dict(extra or {}),
        "statics": leaves.static_fields(state),
        "fingerprint": fingerprint.of_devices(taken, settings.get("devices", 1)),
    }


def _earlier(folder: Path, step: int) -> list[int]:
    try:
        return steps(folder)
    except OSError as error:
        raise SaveFailed(_save_failed(folder, step, [], error)) from error


def _sweep(folder: Path) -> None:
    # What a killed process left behind; the run folder's lock keeps live ones out.
    for path in folder.iterdir():
        if _LEFT.fullmatch(path.name):
            with contextlib.suppress(OSError):
                runfolder.remove_tree(path)


def _discard(draft: Path) -> None:
    # Orbax's threads may still write into a failed draft, which an emptied folder then is not; what
    # outlasts the tries is hidden, and swept by the next save.
    for _ in range(_TRIES):
        shutil.rmtree(draft, ignore_errors=True)
        if not draft.exists():
            return
        time.sleep(0.05)


def _save_failed(folder: Path, step: int, earlier: Sequence[int], error: Exception) -> str:
    last = f"the last good one is {earlier[-1]}" if earlier else "there is no earlier one"
    return (
        f"checkpoint {step} could not be written to {folder} ({snapshot.describe_error(error)}); "
        f"{last}; make room or mend the folder, then give the same command again"
    )
