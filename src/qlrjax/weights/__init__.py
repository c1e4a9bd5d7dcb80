"""Pretrained float parameters: those that ship, a user's files, random ones for tests."""

from qlrjax.weights.mobilenet import (
    ASSET,
    NAMES,
    WeightsError,
    check,
    load,
    load_builtin,
    load_file,
    random,
)

__all__ = [
    "ASSET",
    "NAMES",
    "WeightsError",
    "check",
    "load",
    "load_builtin",
    "load_file",
    "random",
]
