"""Exports as a liar makes them, all digests right: refused, or a run that is sound."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from attack.prey import Prey
from attack.tally import CAUGHT, HARMLESS, SILENT, TRACEBACK, Tally, call
from support import crafted
from support.crafted import Export

from qlrjax.runs import opened, sound

Generator = np.random.Generator
NUMBERS = (0, 1, -1, 2, 7, 255, 10**6, 2**31, 2**31 - 1, -(2**31), 2**63, 10**30, 0.5, -0.0, 1e300)
TEXTS = ("", " ", "\0", "../x", "/etc/passwd", "a" * 10**5, "\x1b[2J", "\ud800", "$x^$", "[/b]")
ODD: tuple[Any, ...] = (
    *NUMBERS,
    *TEXTS,
    None,
    True,
    [],
    {},
    [[]],
    {"a": []},
    [None] * 50,
    ["a", "a"],
)


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def odd(generator: Generator) -> Any:
    """A value that does not belong where it is put."""
    if generator.random() < 0.05:
        return nested(int(generator.integers(2, 400)))
    return ODD[int(generator.integers(len(ODD)))]


def somewhere(values: Any, generator: Generator) -> tuple[Any, Any]:
    """A random place in nested JSON: the container and the key in it."""
    place, key = values, None
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = keys[int(generator.integers(len(keys)))]
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or generator.random() < 0.3:
            return place, key
        place = inner


def json_anywhere(export: Export, generator: Generator) -> str:
    """One entry of the manifest is another."""
    part = str(generator.choice(["extra", "settings", "statics", "fingerprint", "about", "leaves"]))
    values = export.about if part == "about" else export.about[part]
    place, key = somewhere(values, generator)
    how = generator.random()
    if how < 0.2:
        del place[key]
    elif how < 0.3 and isinstance(place, dict):
        place[str(odd(generator))[:1000]] = odd(generator)
    else:
        place[key] = odd(generator)
    return f"{part}: {key!r} is {str(place[key] if how >= 0.3 else 'gone or more')[:60]}"


def leaf(export: Export, generator: Generator) -> str:
    """Values, type or shape of an array of the state are others."""
    names = sorted(export.arrays)
    name = names[int(generator.integers(len(names)))]
    array = export.arrays[name]
    floats = array.dtype.kind == "f"
    info = np.finfo(array.dtype) if floats else np.iinfo(array.dtype)
    extreme = [info.max, info.min, 0, -1 if array.dtype.kind != "u" else 1]
    extreme += [np.nan, np.inf] if floats else []
    value = extreme[int(generator.integers(len(extreme)))]
    kind = str(generator.choice(["all", "one", "type", "longer", "empty", "flat", "noise"]))
    flat = array.reshape(-1).copy()
    match kind:
        case "all":
            array = np.full_like(array, value)
        case "one" if flat.size:
            flat[int(generator.integers(flat.size))] = value
            array = flat.reshape(array.shape)
        case "type":
            array = array.astype(generator.choice(["f8", "i8", "u1", "f2", "?"]))
        case "longer":
            array = np.concatenate([array, array]) if array.ndim else np.stack([array] * 3)
        case "empty":
            array = array.reshape(-1)[:0]
        case "flat":
            array = array.reshape(-1)
        case _:
            bits = generator.bytes(array.nbytes)
            array = np.frombuffer(bits, array.dtype).reshape(array.shape)
    export.arrays[name] = array
    return f"{name}: {kind} {value}"


def stage(export: Export, generator: Generator) -> str:
    """The frozen stage has other arrays, or other facts."""
    said = ""

    def change(arrays: dict[str, np.ndarray]) -> None:
        nonlocal said
        names = sorted(arrays)
        name = names[int(generator.integers(len(names)))]
        if generator.random() < 0.5:
            values = json.loads(arrays["meta"].tobytes())
            place, key = somewhere(values, generator)
            place[key] = odd(generator)
            said = f"meta {key!r} is {str(place[key])[:60]}"
            text = json.dumps(values).encode("utf-8", "surrogatepass")
            arrays["meta"] = np.frombuffer(text, np.uint8)
        elif generator.random() < 0.5:
            del arrays[name]
            said = f"{name} is gone"
        else:
            shape = tuple(int(side) for side in generator.integers(0, 9, generator.integers(0, 4)))
            arrays[name] = np.zeros(shape, str(generator.choice(["i1", "i4", "f4", "u1", "U3"])))
            said = f"{name} is {arrays[name].dtype}{shape}"

    name = "files/frozen.npz.npy"
    export.files[name] = crafted.npz(export.files[name], change, bool(generator.random() < 0.3))
    return said


def log(export: Export, generator: Generator) -> str:
    """The log of events holds other JSON, or none."""
    lines = export.files["records.npy"].splitlines()
    number = int(generator.integers(len(lines)))
    record = json.loads(lines[number])
    place, key = somewhere(record, generator)
    place[key] = odd(generator)
    choices = [json.dumps(record).encode(), b"[" * 10**5, b"\xff\xfe", b"NaN", b"[]", b"{}"]
    choice = 0 if generator.random() < 0.6 else int(generator.integers(1, len(choices)))
    lines[number] = choices[choice]
    export.files["records.npy"] = b"\n".join(lines) + b"\n"
    return f"line {number}, {key!r}: {lines[number][:60]!r}"


def files(export: Export, generator: Generator) -> str:
    """More files, fewer, or other ones."""
    names = sorted(export.files)
    name = names[int(generator.integers(len(names)))]
    other = str(generator.choice(["files/../x.npy", "files/run.lock.npy", "x" * 300, "files/a/b"]))
    if generator.random() < 0.5:
        data = export.files.pop(name)
        export.about["files"].pop(name)
    else:
        data = b"evil"
    if generator.random() < 0.7:
        export.files[other] = data
    elif name in export.files:
        export.files[name] = generator.bytes(int(generator.integers(0, 3000)))
    return f"{name} or {other}"


WAYS: tuple[Callable[[Export, Generator], str], ...] = (
    json_anywhere,
    json_anywhere,
    leaf,
    leaf,
    stage,
    log,
    files,
)


def pack(export: Export, path: Path, generator: Generator) -> None:
    """Writes it, now and then compressed, twice over, or with something before or behind it."""
    how = generator.random()
    export.write(path, zipfile.ZIP_DEFLATED if how < 0.05 else zipfile.ZIP_STORED)
    if how > 0.95:
        path.write_bytes(generator.bytes(100) + path.read_bytes())
    elif how > 0.9:
        path.write_bytes(path.read_bytes() + generator.bytes(100))


def judge(prey: Prey, path: Path, run: Path) -> str:
    """Refused and nothing left; or a run that is sound and can be asked and exported again."""
    done = call("import", path, run)
    if done.failure:
        return TRACEBACK
    if done.refused:
        return SILENT if run.exists() else CAUGHT
    calls = [prey.ask(run), call("export", run, "--format", "npz")]
    if any(answer.failure for answer in calls):
        return TRACEBACK
    if calls[0].code == 0:
        for answer in json.loads(calls[0].out):
            shares = np.array(list(answer.values()))
            if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() < 1.001):
                return SILENT
        sound.check(opened.open_run(run).state, "what was imported")
    return HARMLESS


def attack(prey: Prey, count: int, generator: Generator) -> Tally:
    """Hostile exports of the run."""
    tally = Tally("hostile imports")
    path, run = prey.place / "hostile.npz", prey.place / "hostile"
    for _ in range(count):
        export = Export(prey.export)
        lies = WAYS[int(generator.integers(len(WAYS)))]
        said = lies(export, generator)
        try:
            pack(export, path, generator)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            tally.add(CAUGHT, said)  # a lie that cannot even be written
            continue
        tally.add(judge(prey, path, run), f"{lies.__name__}: {said}")
        shutil.rmtree(run, ignore_errors=True)
    return tally
