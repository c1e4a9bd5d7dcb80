"""`qlrjax data check`: what a folder of photos holds, before anything is learned from it."""

import collections
import dataclasses
import json as json_text
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from qlrjax.cli import show
from qlrjax.cli.arguments import parse_arguments
from qlrjax.names import printable
from qlrjax.streams import layout
from qlrjax.streams.layout import Layout, Scan
from qlrjax.streams.photos import natural

_NAMED_AT_MOST = 20


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Look through a folder of photos: classes, sessions, images, bad files, duplicates.

    Attributes:
        folder: session/object/images or object/images.
        json: Print JSON and nothing else.
    """

    folder: tyro.conf.Positional[Path]
    json: bool = False


def main(words: Sequence[str]) -> int:
    """Says what was found; exit code 2 if nothing could be learned from it."""
    if not words or words[0] not in ("check", "-h", "--help"):
        raise ValueError("there is one command, check; give it a folder: qlrjax data check FOLDER")
    arguments = parse_arguments(
        Arguments, words[1:] if words[0] == "check" else words, "qlrjax data check"
    )
    with show.progress(Console(stderr=True)) as (on_progress, _):
        found = layout.find(arguments.folder)
        scanned = layout.scan(found, on_progress)
    values = report(found, scanned)
    if arguments.json:
        print(json_text.dumps(values, indent=2))
    else:
        _print(found, values)
    return 0 if scanned.good else 2


def report(found: Layout, scanned: Scan) -> dict[str, Any]:
    """Everything as plain JSON values."""
    sessions = list(dict.fromkeys(row.session for row in found.photos))
    counts = collections.Counter((row.item, row.session) for row in scanned.good)
    items = sorted({row.item for row in found.photos}, key=natural)
    same = collections.defaultdict(list)
    for row, digest in zip(scanned.good, scanned.digests, strict=True):
        same[digest].append(row)
    copies = [rows for rows in same.values() if len(rows) > 1]
    return {
        "layout": "session/object/images" if found.has_sessions else "object/images",
        "images": len(scanned.good),
        "sessions": layout.session_numbers(sessions) if found.has_sessions else {},
        "classes": {
            item: {session or "all": counts[item, session] for session in sessions}
            for item in items
        },
        "bad": [{"photo": str(bad.path), "reason": bad.reason} for bad in scanned.bad],
        "other_files": found.others,
        "duplicates": [
            {"photos": [str(row.path) for row in rows], "across": _across(rows)} for rows in copies
        ],
    }


def _across(rows: Sequence[layout.Labelled]) -> str:
    """What the copies of a photo have apart: one of them may be learned and another tested."""
    if len({row.item for row in rows}) > 1:
        return "classes"
    return "sessions" if len({row.session for row in rows}) > 1 else ""


def _print(found: Layout, values: dict[str, Any]) -> None:
    sessions = list(dict.fromkeys(row.session or "all" for row in found.photos))
    rows = [(item, *counts.values()) for item, counts in values["classes"].items()]
    title = f"{values['images']} images of {len(rows)} classes in {values['layout']}"
    Console().print(show.table(title, ("class", *sessions), rows))
    lines = [bad["reason"] for bad in values["bad"]]
    _say(f"{len(lines)} files are bad", lines)
    lines = [
        f"{' = '.join(copy['photos'])}" + (f" (across {copy['across']})" if copy["across"] else "")
        for copy in values["duplicates"]
    ]
    _say(f"{len(lines)} photos are there more than once", lines)
    if values["other_files"]:
        print(f"{values['other_files']} other files are no images, or lie elsewhere")
    uneven = [item for item, counts in values["classes"].items() if not all(counts.values())]
    _say(f"{len(uneven)} classes lack photos in a session", uneven)
    if found.has_sessions and len(sessions) < 2:
        print("there is one session only; the last one is tested, so at least two are needed")


def _say(what: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    print(f"{what}:")
    for line in lines[:_NAMED_AT_MOST]:
        print(f"  {printable(line)}")
    if len(lines) > _NAMED_AT_MOST:
        print(f"  and {len(lines) - _NAMED_AT_MOST} more (--json has all)")
