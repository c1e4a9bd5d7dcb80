"""The integer frozen stage under its short public name; see `qlrjax.integer.frozen`."""

from qlrjax.integer.frozen import IntegerKind, IntegerLayer, Stage, apply, trace

__all__ = ["IntegerKind", "IntegerLayer", "Stage", "apply", "trace"]
