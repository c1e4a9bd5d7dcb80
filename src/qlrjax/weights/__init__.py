"""Pretrained float parameters: those that ship, a user's files, random ones for tests."""

from qlrjax.weights.by_name import (
    BUILTIN_NETWORKS,
    is_path,
    load,
    load_builtin,
    load_file,
    outline,
)
from qlrjax.weights.parameters import NAMES, Parameters, WeightsError, check, random

__all__ = [
    "BUILTIN_NETWORKS",
    "NAMES",
    "Parameters",
    "WeightsError",
    "check",
    "is_path",
    "load",
    "load_builtin",
    "load_file",
    "outline",
    "random",
]
