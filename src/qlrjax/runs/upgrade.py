"""Runs that an earlier version began, in the words of this one."""

from collections.abc import Collection, Mapping
from typing import Any

from qlrjax import settings as settings_file
from qlrjax.settings import Settings

# What strategies keep has had its own place in the state since there are strategies.
_MOVED = {
    "learner/head/": "learner/training/kept/head/",
    "learner/training/synapses/": "learner/training/kept/synapses/",
}
# Runs with a plain head used to keep consolidated weights too, which nothing read.
_DROPPED = "learner/training/kept/head/weight"
# Settings whose default is not what there was before they came.
_BEFORE = {"center_momentum": 0.0}


def settings_of(saved: Mapping[str, Any]) -> Settings:
    """The settings that a run's manifest holds; what it lacks is as it was before it came.

    Raises:
        ValueError: See `settings.from_dict`.
    """
    values = dict(saved)
    if isinstance(protocol := values.get("protocol"), Mapping):
        values["protocol"] = _BEFORE | dict(protocol)
    return settings_file.from_dict(values)


def leaves(named: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """Entries by the paths that the state has today.

    Args:
        named: By the paths that they were saved under.
        wanted: Paths of the state.
    """
    found = {_path(name): value for name, value in named.items()}
    if _DROPPED not in wanted:
        found.pop(_DROPPED, None)
    return found


def newer_settings(saved: Mapping[str, Any], settings: Settings) -> tuple[str, ...]:
    """Dotted names of settings that there were none of yet, and that are as they always were."""
    completed = settings_file.to_dict(settings_of(saved))
    then, now = _flat(completed), _flat(settings_file.to_dict(settings))
    return tuple(sorted(n for n in now if n not in _flat(saved) and then[n] == now[n]))


def _path(name: str) -> str:
    for old, new in _MOVED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
