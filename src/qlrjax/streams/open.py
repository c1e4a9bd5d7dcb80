"""From the name of a data source to a stream of learning events."""

import dataclasses
from pathlib import Path

import numpy as np

from qlrjax.streams import builtin, core50, cut, folder, synthetic, tfds
from qlrjax.streams.core50_cache import Progress
from qlrjax.streams.settings import StreamSettings
from qlrjax.streams.stream import Stream

KINDS = ("builtin", "synthetic", "folder", "core50", "tfds")

# CORe50 has 164,866 frames; so much of it is the whole, up to gaps that are then named.
_CORE50_AT_LEAST = 160_000


def expand(path: str) -> Path:
    """A path as the user wrote it, with ~ for a home folder.

    Raises:
        ValueError: There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"the home folder in {path!r} is not known: {error}") from error


def absolute(settings: StreamSettings) -> StreamSettings:
    """The same data, named so that it is found from wherever one stands.

    Raises:
        ValueError: There is no such data, or no such user, or more images than memory holds.
    """
    kind, place, _ = _resolve(settings)
    data, data_dir = settings.data, settings.data_dir
    if kind in ("folder", "core50"):
        path = str(expand(place).absolute())
        data = f"{kind}:{path}" if data.startswith(f"{kind}:") else path
    if kind == "synthetic":
        synthetic.parse(place)
    if data_dir:
        data_dir = str(expand(data_dir).absolute())
    return dataclasses.replace(settings, data=data, data_dir=data_dir)


def open_stream(
    settings: StreamSettings, resolution: int, seed: int, on_progress: Progress | None = None
) -> Stream:
    """Opens the data and cuts it into events.

    With `joint`, all of them are one.

    Args:
        settings: Which data and how.
        resolution: Side of the images, pixels.
        seed: Of a generated order.
        on_progress: Called with (what, done, total) while CORe50's frames are prepared.

    Raises:
        ValueError: The data is not there, is damaged, or cannot be cut that way.
    """
    stream = _open(settings, resolution, seed, on_progress)
    events = (np.concatenate(stream.events),) if settings.joint else stream.events
    return Stream(stream.source, events, stream.test[:: 20 if settings.reduced_test else 1])


def _open(
    settings: StreamSettings, resolution: int, seed: int, on_progress: Progress | None
) -> Stream:
    kind, place, scenario = _resolve(settings)
    size = (resolution, resolution)
    path = expand(place)
    data_dir = expand(settings.data_dir) if settings.data_dir else None
    rule = cut.Rule(settings.first_classes, settings.pairs_per_event, seed)
    if settings.test_sessions and kind in ("builtin", "synthetic"):
        raise ValueError(f"{kind} data has its own test set; leave test_sessions empty")
    match kind:
        case "builtin":
            limits = settings.train_per_class, settings.test_per_class
            return builtin.stream(size, settings.sessions, rule, *limits)
        case "synthetic" if scenario is None:
            return synthetic.stream(place, size, rule)
        case "synthetic":
            images = synthetic.source(*synthetic.parse(place), size)
        case "folder":
            sessions, held_out = settings.sessions, settings.test_sessions
            return folder.stream(path, size, sessions, held_out, rule, settings.strict, on_progress)
        case "tfds":
            return tfds.stream(
                place, size, settings.sessions, settings.test_sessions, rule, data_dir
            )
        case _:
            images = core50.source(path, size, data_dir, on_progress)
            if settings.order == "auto" and len(images.labels) > _CORE50_AT_LEAST:
                scenario = 391
            if scenario is not None:
                for lists in (path, path.parent):
                    core50.check_lists(lists, scenario, settings.run)
    return core50.stream(images, scenario, settings.run, False, settings.test_sessions, rule)


def _resolve(settings: StreamSettings) -> tuple[str, str, int | None]:
    """Kind of the data, its place, and the official order asked for."""
    kind, _, place = settings.data.partition(":")
    official = settings.order.removeprefix("nicv2_")
    scenario = int(official) if official.isdigit() else None
    if kind not in KINDS or (kind != "builtin" and not place):
        path = expand(settings.data)
        if not path.is_dir() and path.suffix != ".zip":
            raise ValueError(
                f"there is no data {settings.data!r}; give 'builtin', a folder of photos, "
                "'core50:PATH', 'tfds:NAME' or 'synthetic:CLASSESxSESSIONSxFRAMES'"
            )
        official_layout = (path / "s11" / "o50" / "C_11_50_000.png").is_file()
        is_core50 = scenario is not None or path.suffix == ".zip" or official_layout
        kind, place = ("core50" if is_core50 else "folder"), settings.data
    if scenario is not None and kind not in ("core50", "synthetic"):
        raise ValueError(
            f"order {settings.order} is one of CORe50's; {settings.data!r} can only have "
            "order 'generated' (use core50:PATH for data in CORe50's layout)"
        )
    return kind, place, scenario
