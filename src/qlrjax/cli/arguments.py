"""Parsing command lines: tyro's help and errors, but our own sentence for impossible settings."""

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def parse_arguments(target: Callable[..., T], words: Sequence[str], prog: str, **options: Any) -> T:
    """`tyro.cli`, except that a ValueError raised by the settings themselves comes out as it is.

    Raises:
        ValueError: A setting is impossible; the sentence is the setting's own.
        SystemExit: The flags cannot be parsed (tyro has said why), or help was asked for.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(target, args=list(words), prog=prog, **options)
    except SystemExit as stop:
        refusal = _refusal(stop)
        if refusal is not None:
            raise refusal from None
        sys.stderr.write(said.getvalue())
        raise


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
