"""Damaged checkpoints are set aside under another name, and told of while they lie there."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

_NAME = re.compile(r"[0-9]{8}\.corrupt-[0-9]+")


def set_aside(place: Path, reason: str) -> str:
    """Renames a damaged checkpoint and says so."""
    what = f"checkpoint {place.name} is damaged ({reason})"
    if place.parent.is_symlink():  # of who knows whom
        return f"{what}; it was passed over"
    number = 1
    while (aside := place.with_name(f"{place.name}.corrupt-{number}")).exists():
        number += 1
    try:
        place.rename(aside)
    except OSError as error:
        return f"{what}; it was passed over, but not set aside ({error.strerror})"
    return f"{what}; it was set aside as {aside.name}"


def earlier(folder: Path, newest: int, told: Sequence[str]) -> list[str]:
    """One line for every step after the newest intact one that was set aside by an earlier call."""
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    later = [name for name in names if _NAME.fullmatch(name) and int(name[:8]) > newest]
    return [
        f"checkpoint {name[:8]} was damaged and was set aside as {name} earlier; what it held is "
        "missing here"
        for name in later
        if not any(line.endswith(name) for line in told)
    ]
