"""One task of a sweep, learned in a folder that all workers share; and its result as plain JSON.

A sweep's folder holds sweep.toml, sessions/ID (a run folder each, see `runs.run`), results/ID.json
(written when a session is finished, as a whole or not at all), and the tables.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qlrjax import files
from qlrjax import settings as settings_file
from qlrjax.lab import rows
from qlrjax.runs import interrupt

SESSIONS, RESULTS = "sessions", "results"
SCHEMA = 2
_SIZE_LIMIT_BYTES = 2**20
# Figures without which a result cannot be shown.
_SHOWN = ("classes", "data", "forgetting_points", "replay_bytes", "test_images")
Result = dict[str, Any]
OnEvent = Callable[[int, int, float | None], None]


def learn(
    task: str,
    settings: Mapping[str, Any],
    folder: Path,
    on_event: OnEvent | None = None,
    stop: interrupt.Stop | None = None,
    worker: str = "",
) -> Result | None:
    """Learns a session, or the rest of it, and writes its result.

    Args:
        task: Its id.
        settings: As `settings.to_dict` gives them.
        folder: The sweep's.
        on_event: Called after every event with its number from 1, how many there are, and the
            accuracy, a share of 1, where it was tested.
        stop: Asked between events.
        worker: Who learns, for the table of timings.

    Returns:
        The result; None when a stop came first.

    Raises:
        ValueError: A setting or the data is not usable.
        FloatingPointError: What was learned is not finite.
    """
    from qlrjax.runs import run  # JAX is loaded by whoever learns, not by whoever waits

    begun = time.perf_counter()

    def heard(record: Mapping[str, Any]) -> None:
        if on_event:
            on_event(record["event"] + 1, record["of"], record.get("accuracy"))

    place = folder / SESSIONS / task
    try:
        outcome = run.run(settings_file.from_dict(dict(settings)), place, on_event=heard, stop=stop)
    except interrupt.Interrupted:
        return None
    if not outcome.finished:
        return None
    timing = {
        "worker": worker or f"process {os.getpid()}",
        "seconds": round(time.perf_counter() - begun, 2),
        "seconds_learning": round(sum(outcome.seconds), 2),
        "events_now": len(outcome.seconds),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
    }
    result: Result = {
        "schema": SCHEMA,
        "task": task,
        "settings": dict(settings),
        "figures": figures(outcome),
        "timing": timing,
    }
    write(folder, task, result)
    return result


def write(folder: Path, task: str, result: Result) -> None:
    """Writes the result of a task, with a digest of it.

    Raises:
        OSError: It could not be written.
    """
    path = folder / RESULTS / f"{task}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    signed = {**result, "sha256": _digest(result)}
    files.write_atomic(path, json.dumps(signed, allow_nan=False, indent=1) + "\n")


def figures(outcome: Any) -> dict[str, Any]:
    """What a session came to: a `runs.run.Outcome` as figures with their units in the names."""
    from qlrjax import report
    from qlrjax.runs import results

    session, memory = outcome.session, outcome.state.learner.memory
    events = [len(event) for event in session.stream.events]
    return {
        **report.summary_values(outcome.curve("")),
        **report.standard_values(outcome.curve("")),
        "data": session.stream.source.name,
        "test_images": len(session.stream.test),
        "test_sessions": json.dumps(results.test_sessions(session)),
        "classes": session.cut.classes,
        "events": session.events,
        "images_first_event": events[0],
        "images_later_event": max(events[1:], default=0),
        "replay_bytes": memory.bytes,
        "latent_elements": session.cut.latent_elements,
        "minibatches": sum(record.get("minibatches", 0) for record in outcome.records),
        **results.costs(session, outcome.records, memory.bytes),
    }


def read(folder: Path, task: str) -> Result | None:
    """The result of a task; None where there is none that is whole."""
    path = folder / RESULTS / f"{task}.json"
    try:
        result = json.loads(files.read(path, _SIZE_LIMIT_BYTES))
        noted = result.pop("sha256")
        whole = result["schema"] == SCHEMA and result["task"] == task
        if not whole or noted != _digest(result):
            return None
        rows.check_figures(result["figures"])
        usual = all(name in result["figures"] for name in _SHOWN)
        seconds = result["timing"]["seconds"]
        return result if usual and isinstance(seconds, int | float) and seconds >= 0 else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _digest(result: Result) -> str:
    """Of all but the digest, so that a damaged result counts as one that is not there."""
    text = json.dumps(result, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
