"""A run's folder from an exported state that nobody vouches for: whole, or not there at all."""

import contextlib
import secrets
from pathlib import Path

from qlrjax import needs, weights
from qlrjax.names import printable
from qlrjax.runs import checkpoint, marker, opened, runfolder, transfer, upgrade
from qlrjax.runs import facts as run_facts
from qlrjax.runs.marker import CHECKPOINTS, EVENTS, SETTINGS, STAGE
from qlrjax.runs.opened import OpenRun

MOVED = (SETTINGS, STAGE)


def make(file: Path, folder: Path) -> OpenRun:
    """Makes the folder of an exported run; it is the same run, with the same id.

    Args:
        file: What `transfer.pack` wrote.
        folder: New, or empty.

    Raises:
        ValueError: The file is not an intact export of a run, or the folder holds something.
        OSError: Something could not be read or written.
    """
    packed = transfer.read(file, MOVED)
    try:
        kept = run_facts.from_extra(packed.described.extra)
        settings = upgrade.settings_of(packed.described.settings)
        if not weights.is_path(settings.weights):  # a file need not be here; see `opened`
            needs.check(settings, len(kept.class_names), kept.events)
    except ValueError as error:
        raise ValueError(f"{printable(file)} is not an exported run: {error}") from error
    marker.look(folder)
    existed = folder.exists()
    try:
        with runfolder.lock(folder):
            before = marker.read(folder)
            if before is None:
                adopted = kept.run is None
                own = marker.Marker(kept.run or secrets.token_hex(16), adopted=adopted)
                marker.create(folder, own)
            elif before.id == kept.run and not checkpoint.steps(folder / CHECKPOINTS):
                # An import of the same run that was killed: the checkpoint comes last.
                marker.claim(folder)
                runfolder.clear(folder, (CHECKPOINTS, EVENTS, *MOVED))
            else:
                raise ValueError(f"{printable(folder)} holds a run already; choose a new folder")
            return _fill(packed, folder)
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):
                (folder / runfolder.LOCK_NAME).unlink(missing_ok=True)
                folder.rmdir()  # succeeds only when nothing of a run is in it
        raise


def _fill(packed: transfer.Packed, folder: Path) -> OpenRun:
    """Writes the run and reads it back once; nothing is left of one that cannot be read."""
    try:
        transfer.unpack(packed, folder)
        found = opened.open_run(folder)
        runfolder.write_records(folder / EVENTS, found.records)
    except BaseException:
        with contextlib.suppress(OSError):
            for place in (folder / CHECKPOINTS).glob("*.corrupt-*"):
                runfolder.remove_tree(place)
            runfolder.clear(folder, (CHECKPOINTS, EVENTS, *packed.content, marker.NAME))
        raise
    return found
