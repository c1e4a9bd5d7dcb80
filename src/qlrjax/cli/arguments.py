"""Parsing command lines: tyro's help, but one plain sentence for whatever cannot be parsed."""

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import tyro

T = TypeVar("T")

_BOX = re.compile(r"[│╭╮╰╯]")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RULE = re.compile(r"\s*[─-]{3,}\s*")
_HELP = ("-h", "--help")
# Sections that repeat what --help says.
_LONG = ("For full helptext", "Argument helptext")


def parse_arguments(target: Callable[..., T], words: Sequence[str], prog: str, **options: Any) -> T:
    """`tyro.cli`, except that every refusal is a ValueError of one sentence.

    Raises:
        ValueError: A flag is unknown, missing or impossible; or a setting is, in its own words.
        SystemExit: Help was asked for.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), _unwrapped(not set(words) & {*_HELP}):
            return tyro.cli(target, args=list(words), prog=prog, **options)
    except SystemExit as stop:
        refusal = _refusal(stop)
        if refusal is not None:
            raise refusal from None
        if not stop.code:
            raise
        raise ValueError(f"{_sentence(said.getvalue())}; see {prog} --help") from None


def _sentence(box: str) -> str:
    """What a box of tyro's says, in one line: its sections, the one about help left out."""
    title, *lines = _BOX.sub("", _COLOUR.sub("", box)).strip().splitlines()
    sections: list[list[str]] = [[]]
    for line in lines:
        if _RULE.fullmatch(line):
            sections.append([])
        elif line.strip():
            sections[-1].append(line.strip())
    texts = [" ".join(section) for section in sections if section]
    texts = [text for text in texts if not text.startswith(_LONG)]
    # What the user wrote comes before what was not written.
    texts.sort(key=lambda text: text.startswith("Missing from"))
    return "; ".join(_plain(text) for text in texts) or title.strip(" ─-")


def _plain(text: str) -> str:
    if match := re.match(r"Missing from [^:]*: (--\S+(?: [A-Z|{][^ ]*)?)", text):
        return f"{match[1]} is missing"
    if match := re.match(r"Missing from [^:]*: (\S+) (.*?)\.? \(required\)", text):
        return f"{match[1]} is missing: {match[2][:1].lower()}{match[2][1:]}"
    if match := re.match(r"Unrecognized options: (.*)", text):
        return f"there is no option {match[1]}"
    if match := re.match(r"Perhaps you meant: (\S+)", text):
        return f"perhaps you meant {match[1]}"
    return text[:1].lower() + text[1:].removesuffix(".")


@contextlib.contextmanager
def _unwrapped(wanted: bool) -> Iterator[None]:
    """Lets tyro write its errors without breaking lines inside a path."""
    before = os.environ.get("COLUMNS")
    if wanted:
        os.environ["COLUMNS"] = "10000"
    try:
        yield
    finally:
        if before is not None:
            os.environ["COLUMNS"] = before
        elif wanted:
            del os.environ["COLUMNS"]


def _refusal(error: BaseException) -> ValueError | None:
    """The ValueError of a `__post_init__` that made tyro stop, if that is why."""
    seen: BaseException | None = error
    while seen is not None:
        traceback = seen.__traceback__
        while traceback is not None:
            if type(seen) is ValueError and traceback.tb_frame.f_code.co_name == "__post_init__":
                return seen
            traceback = traceback.tb_next
        seen = seen.__cause__ or seen.__context__
    return None
