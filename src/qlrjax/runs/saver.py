"""Checkpoints written in the background, while the next event is learned."""

import concurrent.futures
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jax.profiler import TraceAnnotation

from qlrjax.runs import checkpoint, leaves
from qlrjax.runs.runfolder import Record


class Saver:
    """Saves in a background thread, one checkpoint at a time, while the next event is learned.

    Use it as a context manager: at its end the last checkpoint is on disk, or SaveFailed is raised.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        spare: Collection[int] = (),
        on_saved: Callable[[Sequence[Record]], None] | None = None,
    ) -> None:
        """Nothing is written yet.

        Args:
            folder: See `checkpoint.save`.
            settings: See `checkpoint.save`.
            spare: See `checkpoint.save`.
            on_saved: Called in the thread with the records of every checkpoint that is on disk.
        """
        self._folder, self._settings, self._spare = folder, settings, spare
        self._on_saved = on_saved
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "qlrjax-checkpoint")
        self._pending: concurrent.futures.Future[None] | None = None

    def save(
        self,
        step: int,
        state: Any,
        records: Sequence[Record],
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Copies the state and returns; waits first if the checkpoint before is still written.

        Raises:
            SaveFailed: The checkpoint before could not be written.
        """
        self.flush()
        facts = checkpoint.about(state, self._settings, extra)
        arrays = leaves.to_host(state)
        log = records if isinstance(records, tuple) else tuple(records)
        self._pending = self._thread.submit(self._work, step, arrays, log, facts)

    def flush(self) -> None:
        """Waits until the last checkpoint is on disk.

        Raises:
            SaveFailed: It could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def _work(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        records: Sequence[Record],
        facts: Mapping[str, Any],
    ) -> None:
        with TraceAnnotation("checkpoint written"):
            checkpoint.publish(self._folder, step, arrays, records, facts, self._spare)
            if self._on_saved is not None:
                self._on_saved(records)

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.flush()
        except Exception as failed:
            if error is None:
                raise
            error.add_note(str(failed))
        finally:
            self._thread.shutdown()
