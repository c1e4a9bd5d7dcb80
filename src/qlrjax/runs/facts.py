"""What a checkpoint's manifest keeps of a run besides settings and state, checked before use."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from qlrjax.names import check_class

_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_EVENTS_AT_MOST, _CLASSES_AT_MOST = 10**6, 10**5


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a run must keep to go on.

    Attributes:
        class_names: In label order; the stream's, as renamed, then those learned from photos.
        stream_classes: How many of them are the stream's.
        events: Of the stream.
        stream: Digest of images, labels, events and test set.
        stage_sha256: Digest of the frozen stage's file.
        run: The run's id, see `marker`; None in checkpoints from before there were ids.
        before: Step of the checkpoint before the last lesson or change of the classes, kept so
            that it can be undone; None where there is nothing to undo.
        change: What that was, in a few words.
        strategy: What a strategy of the caller's own says of itself; empty where the settings
            name it.
    """

    class_names: tuple[str, ...]
    stream_classes: int
    events: int
    stream: str
    stage_sha256: str
    run: str | None = None
    before: int | None = None
    change: str = ""
    strategy: str = ""

    def to_extra(self) -> dict[str, Any]:
        """As plain JSON for a manifest; what is not there is left out."""
        values = dataclasses.asdict(self) | {"class_names": list(self.class_names)}
        return {name: value for name, value in values.items() if value not in (None, "")}


def from_extra(extra: Mapping[str, Any]) -> Facts:
    """Reads them from a manifest that nobody vouches for.

    Raises:
        ValueError: One is missing or impossible; it is named.
    """
    names = extra.get("class_names")
    if not isinstance(names, list) or len(names) > _CLASSES_AT_MOST:
        raise ValueError(_wrong("class_names"))
    if not all(isinstance(name, str) for name in names):
        raise ValueError(_wrong("class_names"))
    for name in names:
        check_class(name, "the checkpoint's class")
    if len(set(names)) != len(names):
        raise ValueError(_wrong("class_names"))
    before, run = extra.get("before"), extra.get("run")
    if run is not None and not (isinstance(run, str) and _ID.fullmatch(run)):
        raise ValueError(_wrong("run"))
    return Facts(
        class_names=tuple(names),
        stream_classes=_count(extra, "stream_classes", 0, len(names)),
        events=_count(extra, "events", 1, _EVENTS_AT_MOST),
        stream=_digest(extra, "stream"),
        stage_sha256=_digest(extra, "stage_sha256"),
        run=run,
        before=None if before is None else _count(extra, "before", 0, 10**8),
        change=_words(extra, "change", 1000),
        strategy=_words(extra, "strategy", 10**5),
    )


def _count(extra: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = extra.get(name)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(_wrong(name))
    return value


def _words(extra: Mapping[str, Any], name: str, most: int) -> str:
    value = extra.get(name, "")
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(_wrong(name))
    return value


def _digest(extra: Mapping[str, Any], name: str) -> str:
    value = extra.get(name)
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(_wrong(name))
    return value


def _wrong(name: str) -> str:
    return f"the checkpoint's manifest has no usable {name!r}; it is not one of a qlrjax run"
