"""Whether a saved run is the one that is asked for: its settings, and the shapes they give."""

from collections.abc import Collection, Mapping
from typing import Any

from qlrjax.runs import leaves
from qlrjax.runs.leaves import Leaf
from qlrjax.runs.manifest import Manifest

_NAMED_AT_MOST = 8


class SettingsMismatch(ValueError):
    """The checkpoint is of a run with other settings."""


def check(
    described: Manifest,
    template: Any,
    wanted: Mapping[str, Leaf],
    settings: Mapping[str, Any],
    free: Collection[str] = (),
) -> None:
    """Raises SettingsMismatch unless the run that was saved is the one that is asked for.

    Args:
        described: Of the saved run.
        template: See `restore`.
        wanted: `leaves.describe(template)`.
        settings: See `restore`.
        free: See `restore`.
    """
    differing = _differing(described.settings, settings, free)
    if not differing:
        # The same settings can still mean another state: other images, classes or calibration.
        then = described.statics | {name: _kind(leaf) for name, leaf in described.leaves.items()}
        now = leaves.static_fields(template) | {name: _kind(leaf) for name, leaf in wanted.items()}
        differing = _differing(then, now)
    if differing:
        rest = len(differing) - _NAMED_AT_MOST
        more = f" and {rest} more" if rest > 0 else ""
        raise SettingsMismatch(
            f"the run was started with other settings: {'; '.join(differing[:_NAMED_AT_MOST])}"
            f"{more}; use the run's own settings, another folder, or start anew"
        )


def _differing(
    then: Mapping[str, Any], now: Mapping[str, Any], free: Collection[str] = ()
) -> list[str]:
    """One phrase for every entry that differs, nested ones by their dotted names."""
    then, now = _flat(then), _flat(now)
    names = [name for name in sorted({*then, *now}) if name not in free]
    return [
        f"{name} was {then.get(name, 'not there')!r}, is {now.get(name, 'not there')!r}"
        for name in names
        if name not in then or name not in now or then[name] != now[name]
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = list(value) if isinstance(value, tuple) else value
    return flat


def _kind(leaf: Leaf) -> list[Any]:
    return [leaf.dtype, *leaf.shape]
