"""Where the time of a learning event goes, from JAX's own profiler: `make profile`.

python -m tests.bench.profile [--latent-layer 27] [--events 10] [--replays 500] [--out FILE.json]

A real run in a folder is traced from its third event on, when everything is compiled. Phases of the
host are annotations in the trace; operations of the learning program carry the scopes that its
source names, which the compiled program's metadata tells. What XLA fuses counts where the fusion's
result belongs. Programs are compiled anew, since kept ones may be older than the scopes, and
latents are computed anew, as those of images never seen.
"""

import argparse
import collections
import dataclasses
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import jax
from jax.profiler import ProfileData, TraceAnnotation

from qlrjax.runs import run
from qlrjax.settings import Settings
from qlrjax.streams.settings import StreamSettings

HOST = ("decode", "frozen stage", "kept latents", "plan", "evaluation", "checkpoint")
SCOPES = ("replay read", "training", "head", "admission")
LEARNING, WRITTEN, MARK = "learning", "checkpoint written", "event learned"
PHASES = (*HOST[:4], *SCOPES, *HOST[4:])
UNNAMED, REST = "learning, in no scope", "rest of the event"
_COMPILED_AFTER = 2  # events
_PROGRAM = "jit__learn"
_INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%?([\w.-]+) = .*?op_name="([^"]*)"', re.MULTILINE)


class _Enough(Exception):
    """Ends a run once enough events were traced."""


@dataclasses.dataclass(frozen=True)
class Event:
    """A span of the trace: nanoseconds from its start, and its own part of them."""

    name: str
    start: float
    end: float
    own: float
    module: str


def traced(settings: Settings, events: int, folder: Path) -> list[list[Event]]:
    """Runs a session in a folder and returns what every thread did in some of its events."""
    learned = 0

    def heard(record: object) -> None:
        nonlocal learned
        learned += 1
        if learned == _COMPILED_AFTER:
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0
            jax.profiler.start_trace(str(folder / "trace"), profiler_options=options)
        with TraceAnnotation(MARK):
            pass
        if learned == _COMPILED_AFTER + events:
            raise _Enough

    try:
        run.run(settings, folder / "run", on_event=heard)
    except _Enough:
        pass
    finally:
        jax.profiler.stop_trace()
    (path,) = (folder / "trace").rglob("*.xplane.pb")
    planes = ProfileData.from_file(str(path)).planes
    return [list(_spans(line.events)) for plane in planes for line in plane.lines]


def _spans(events: Iterable) -> Iterator[Event]:
    """Events of one thread, each with what none of those inside it takes."""
    ordered = sorted(
        (e.start_ns, -e.duration_ns, e.name, dict(e.stats).get("hlo_module", "")) for e in events
    )
    own = [-length for _, length, *_ in ordered]
    around: list[int] = []
    for index, (start, length, *_) in enumerate(ordered):
        while around and ordered[around[-1]][0] - ordered[around[-1]][1] <= start:
            around.pop()
        if around:
            own[around[-1]] += length
        around.append(index)
    for (start, length, name, module), time in zip(ordered, own, strict=True):
        yield Event(name, start, start - length, time, module)


def scopes(program: str) -> dict[str, str]:
    """The scope of every operation of a compiled program that is in one; the innermost wins."""
    found = {}
    for name, path in _INSTRUCTION.findall(program):
        inside = [part for part in re.split(r"[/()]", path) if part in SCOPES]
        if inside:
            found[name] = inside[-1]
    return found


def learning_programs() -> list[str]:
    """The text of every learning program that this process holds."""
    client = jax.devices()[0].client
    modules = (module for one in client.live_executables() for module in one.hlo_modules())
    return [module.to_string() for module in modules if module.name == _PROGRAM]


def table(threads: list[list[Event]], where: Mapping[str, str]) -> dict[str, float]:
    """Milliseconds an event by phase, then what is in none, then the whole."""
    everything = [event for thread in threads for event in thread]
    marks = sorted(event.start for event in everything if event.name == MARK)
    begin, end, count = marks[0], marks[-1], len(marks) - 1
    spent: dict[str, float] = collections.Counter()
    for event in everything:
        if event.start < begin or event.start >= end:
            continue
        if event.module == _PROGRAM:
            spent[where.get(event.name, "")] += event.own
        elif event.name in (*HOST, LEARNING, WRITTEN):
            spent[event.name] += event.end - event.start
    rows = {name: spent[name] for name in PHASES}
    rows[UNNAMED] = spent[LEARNING] - spent["plan"] - sum(spent[name] for name in SCOPES)
    rows[REST] = (end - begin) - sum(rows.values())
    rows["event"] = end - begin
    rows[f"({WRITTEN}, beside it)"] = spent[WRITTEN]
    return {name: time / count / 1e6 for name, time in rows.items()}


def measured(settings: Settings, events: int) -> dict[str, float]:
    """`table` of a session of these settings."""
    jax.config.update("jax_enable_compilation_cache", False)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QLRJAX_CACHE"] = str(Path(folder) / "cache")  # so that no latent is found
        threads = traced(settings, events, Path(folder))
    ran = {event.name for thread in threads for event in thread if event.module == _PROGRAM}
    # The first event has a program of its own; the other one has all operations that ran.
    program = max(learning_programs(), key=lambda text: len(ran & set(_names(text))))
    return table(threads, scopes(program))


def _names(program: str) -> list[str]:
    return re.findall(r"^\s*(?:ROOT )?%?([\w.-]+) = ", program, re.MULTILINE)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--latent-layer", type=int, default=27)
    parser.add_argument("--events", type=int, default=10)
    parser.add_argument("--data", default="builtin")
    parser.add_argument("--replays", type=int, default=500)
    parser.add_argument("--pairs-per-event", type=int, default=1)
    parser.add_argument("--weights", default="builtin")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    settings = Settings(
        latent_layer=words.latent_layer,
        weights=words.weights,
        resolution=words.resolution,
        replays=words.replays,
        stream=StreamSettings(data=words.data, pairs_per_event=words.pairs_per_event),
    )
    rows = measured(settings, words.events)
    print(f"{'phase':32} {'ms an event':>12} {'share':>8}")
    for name, time in rows.items():
        print(f"{name:32} {time:12.2f} {100 * time / rows['event']:7.1f}%")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"load of the machine (1, 5, 15 minutes): {load} on {os.cpu_count()} cores")
    if words.out:
        words.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
