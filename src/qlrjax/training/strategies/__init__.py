"""Strategies: what is kept of the past besides replays, and who answers."""

from qlrjax.training.strategies.admission import Admission, Lowest, Offer, Quota
from qlrjax.training.strategies.ar1 import Ar1Star
from qlrjax.training.strategies.cwr import CwrStar
from qlrjax.training.strategies.distance import NearestMean
from qlrjax.training.strategies.lateclass import LateClass
from qlrjax.training.strategies.named import named
from qlrjax.training.strategies.strategy import (
    ClassChange,
    ClassCounts,
    Kept,
    Learned,
    Seen,
    Settled,
    Step,
    Strategy,
)

__all__ = [
    "Admission",
    "Ar1Star",
    "ClassChange",
    "ClassCounts",
    "CwrStar",
    "Kept",
    "LateClass",
    "Learned",
    "Lowest",
    "NearestMean",
    "Offer",
    "Quota",
    "Seen",
    "Settled",
    "Step",
    "Strategy",
    "named",
]
