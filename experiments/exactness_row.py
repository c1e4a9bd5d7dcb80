"""One line of the table of exactness, and how a difference is measured."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; `difference` is in codes for integers and relative for floats."""

    what: str
    reference: str
    cases: str
    difference: float
    kind: str = "integer"
    differing: float = 0.0
    mean: float = 0.0


def largest(one, other) -> int:
    """Largest absolute difference; shapes must agree."""
    one, other = np.asarray(one).astype(np.int64), np.asarray(other).astype(np.int64)
    if one.shape != other.shape:
        raise SystemExit(f"shapes differ: {one.shape} and {other.shape}")
    return int(np.abs(one - other).max())


def relative(one, other) -> float:
    """Norm of the difference by the norm of the reference."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))
