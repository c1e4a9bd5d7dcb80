"""Memory: how much there is, and a refusal before more is asked for than there is."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Need:
    """Something that takes memory.

    Attributes:
        what: In words, with the setting that decides it.
        bytes: At least so many.
    """

    what: str
    bytes: int


def check(wanted: Sequence[Need], available: int | None = None) -> None:
    """Refuses needs that are larger, together, than the memory there is.

    Args:
        wanted: Lower bounds, so that what is refused would certainly not have fitted.
        available: Bytes; by default what this process can still get.

    Raises:
        ValueError: The largest is named, with both figures.
    """
    available = free_bytes() if available is None else available
    total = sum(need.bytes for need in wanted)
    if total > available:
        largest = max(wanted, key=lambda need: need.bytes)
        raise ValueError(
            f"at least {_gigabytes(total)} of memory would be needed, and {_gigabytes(available)} "
            f"are available; most of it for {largest.what} ({_gigabytes(largest.bytes)})"
        )


def free_bytes() -> int:
    """Memory that this process could still get: the machine's, its group's, or its own limit."""
    found = [2**62]
    for line in _lines("/proc/meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            found.append(1024 * int(value.split()[0]))
    limits = [_number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")]
    if limits[0] is not None:
        found.append(max(limits[0] - (limits[1] or 0), 0))
    own = _own_limit()
    return min(*found, own) if own is not None else min(found)


def _own_limit() -> int | None:
    try:
        import resource
    except ImportError:  # not on this system
        return None
    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    if soft == resource.RLIM_INFINITY:
        return None
    pages = [line.split()[0] for line in _lines("/proc/self/statm")]
    mapped = int(pages[0]) * resource.getpagesize() if pages else 0
    return max(soft - mapped, 0)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _number(path: str) -> int | None:
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].isdecimal() else None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB" if count < 10**21 else "more than 10^12 GB"
