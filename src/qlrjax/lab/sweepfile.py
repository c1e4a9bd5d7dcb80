"""A sweep file: which settings vary, and how, as TOML; read into a list of tasks.

    title = "the paper's question"
    preset = "default"              # to start from, see `presets`
    seeds = 3                       # 0, 1, 2; or a list

    [settings]                      # as in a run's settings.toml
    evaluate_every = 10

    [grid]                          # every value with every other
    latent_layer = [21, 23, 25, 27]
    "protocol.epochs" = [1, 4]

    [[zip]]                         # these go together, one by one
    bits = [32, 8]
    frozen = ["float32", "int8"]

    [[list]]                        # named cases, each with all of the above; the axes win
    name = "no replays"
    replays = 0

    [[except]]                      # left out: where all of these hold (a list: any of its values)
    replays = 0
    bits = [32]

Tasks come in the order in which they are worth having: all of the first seed, then of the second.
"""

import dataclasses
import hashlib
import itertools
import json
import math
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qlrjax import files, presets
from qlrjax import settings as settings_file
from qlrjax.names import printable
from qlrjax.settings import Settings

_KEYS = ("title", "preset", "seeds", "settings", "grid", "zip", "list", "except")
_TASKS_AT_MOST = 20_000
_FILE_BYTES_AT_MOST = 2**20
# What may change without changing what is learned, see `runs.run.FREE_SETTINGS`.
_FREE = ("checkpoint_every", "devices", "stream.data", "stream.data_dir", "stream.strict")
Values = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Task:
    """One session of a sweep.

    Attributes:
        id: 16 hexadecimal digits made of the settings that decide what is learned.
        case: Name of its entry in the file's list; empty for most.
        settings: All of them.
        varied: What the file varies, by dotted names, in the file's order.
    """

    id: str
    case: str
    settings: Settings
    varied: Values


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What a file asks for.

    Attributes:
        title: For tables and pictures.
        tasks: All sessions.
        text: The file's.
    """

    title: str
    tasks: tuple[Task, ...]
    text: str


def load(path: Path, data: str = "") -> Sweep:
    """Reads a sweep file.

    Args:
        path: Of the file.
        data: Where images come from, instead of what the file says.

    Raises:
        ValueError: It cannot be read, or asks for something impossible; the sentence says what.
    """
    try:
        text = files.read(path, _FILE_BYTES_AT_MOST).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"sweep file {printable(path)} cannot be read: {error}") from error
    try:
        return parse(text, path.stem, data)
    except ValueError as error:
        raise ValueError(f"{printable(path)}: {error}") from error


def parse(text: str, title: str = "", data: str = "") -> Sweep:
    """Like `load`, of a text; `title` is for one that has none.

    Raises:
        ValueError: See `load`.
    """
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"this is not TOML: {error}") from error
    for key in values:
        if key not in _KEYS:
            raise ValueError(f"unknown key {key!r}; a sweep file has {', '.join(_KEYS)}")
    base = settings_file.to_dict(presets.preset(_text(values, "preset", "default")))
    base = _merge(base, _table(values, "settings"))
    base = _merge(base, {"stream": {"data": data}} if data else {})
    cases = _cases(values)
    axes = _axes(values)
    exceptions = [_flat(entry) for entry in _tables(values, "except")]
    parts: list[Sequence[Any]] = [_seeds(values, base), cases, *axes]
    count = math.prod(len(part) for part in parts)
    if count > _TASKS_AT_MOST:
        raise ValueError(f"these are {count} sessions, more than {_TASKS_AT_MOST}; vary less")
    tasks: dict[str, Task] = {}
    for seed, (name, case), *point in itertools.product(*parts):
        varied = dict(case)
        for part in point:
            varied |= part
        varied["seed"] = seed
        task = _task(base, name, varied)
        if not any(_matches(task, exception) for exception in exceptions):
            tasks.setdefault(task.id, task)
    if not tasks:
        raise ValueError("there is no session left; its [[except]] leaves everything out")
    return Sweep(_text(values, "title", title), tuple(tasks.values()), text)


def flat(settings: Settings, as_text: bool = True) -> Values:
    """Every setting by its dotted name; lists as JSON text, so that a table can hold them."""
    values = _flat(settings_file.to_dict(settings))
    return {k: json.dumps(v) if as_text and isinstance(v, list) else v for k, v in values.items()}


def nested(values: Values) -> Values:
    """Settings by dotted names as tables within tables."""
    found: Values = {}
    for name, value in values.items():
        found = _merge(found, _nested(name, value))
    return found


def _task(base: Values, case: str, varied: Values) -> Task:
    settings: Settings = settings_file.from_dict(_merge(base, nested(varied)))
    deciding = {
        name: value
        for name, value in flat(settings).items()
        if name not in _FREE or (name == "stream.data" and name in varied)
    }
    digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()
    return Task(digest[:16], case, settings, varied)


def _axes(values: Values) -> list[list[Values]]:
    """Each axis as its points, each point as the settings it gives."""
    axes = [
        [{name: value} for value in _list(name, points)]
        for name, points in _flat(_table(values, "grid")).items()
    ]
    for entry in _tables(values, "zip"):
        together = {name: _list(name, points) for name, points in _flat(entry).items()}
        lengths = {len(points) for points in together.values()}
        if len(lengths) != 1:
            raise ValueError(
                f"the axes {', '.join(together)} of a [[zip]] have different lengths; "
                "they go together one by one"
            )
        axes.append(
            [dict(zip(together, row, strict=True)) for row in zip(*together.values(), strict=True)]
        )
    names = [name for axis in axes for name in axis[0]]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name} is an axis twice; leave one out")
        if name == "seed":
            raise ValueError("seed is no axis; give seeds = 3, or seeds = [0, 1, 2]")
    return axes


def _cases(values: Values) -> list[tuple[str, Values]]:
    cases = []
    for number, entry in enumerate(_tables(values, "list")):
        name = entry.pop("name", f"case {number + 1}")
        if not isinstance(name, str):
            raise ValueError(f"the name of a [[list]] entry is {name!r}; give text")
        cases.append((name, _flat(entry)))
    return cases or [("", {})]


def _seeds(values: Values, base: Values) -> Sequence[int]:
    seeds = values.get("seeds", [base["seed"]])
    if type(seeds) is int and 0 < seeds <= _TASKS_AT_MOST:
        return range(seeds)
    if isinstance(seeds, list) and seeds and all(type(seed) is int for seed in seeds):
        return seeds
    raise ValueError(f"seeds is {seeds!r}; give how many, or a list of whole numbers")


def _matches(task: Task, exception: Values) -> bool:
    values = _flat(settings_file.to_dict(task.settings))
    for name in exception:
        if name not in values:
            raise ValueError(f"[[except]] names an unknown setting {name!r}")
    return all(
        values[name] in wanted if isinstance(wanted, list) else values[name] == wanted
        for name, wanted in exception.items()
    )


def _list(name: str, points: Any) -> list[Any]:
    if not isinstance(points, list) or not points:
        raise ValueError(f"the axis {name} is {points!r}; give a list of values")
    return points


def _text(values: Values, name: str, default: str) -> str:
    text = values.get(name, default)
    if not isinstance(text, str):
        raise ValueError(f"{name} is {text!r}; give text")
    return text


def _table(values: Values, name: str) -> Values:
    table = values.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"{name} is {table!r}; write it as a table, [{name}]")
    return table


def _tables(values: Values, name: str) -> list[Values]:
    tables = values.get(name, [])
    tables = [tables] if isinstance(tables, dict) else tables
    if not isinstance(tables, list) or not all(isinstance(entry, dict) for entry in tables):
        raise ValueError(f"{name} is {tables!r}; write it as tables, [[{name}]]")
    return [dict(entry) for entry in tables]


def _flat(values: Values, prefix: str = "") -> Values:
    return dict(_items(values, prefix))


def _items(values: Values, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _items(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _nested(name: str, value: Any) -> Values:
    first, _, rest = name.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _merge(base: Values, changes: Values) -> Values:
    merged = dict(base)
    for key, value in changes.items():
        inner = merged.get(key)
        if isinstance(value, dict) and isinstance(inner, dict):
            merged[key] = _merge(inner, value)
        else:
            merged[key] = value
    return merged
