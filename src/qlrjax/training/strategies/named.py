"""The one place where settings become a strategy."""

from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import synaptic
from qlrjax.training.strategies.admission import Admission, Lowest, Quota
from qlrjax.training.strategies.ar1 import Ar1Star
from qlrjax.training.strategies.cwr import CwrStar
from qlrjax.training.strategies.distance import NearestMean
from qlrjax.training.strategies.strategy import Strategy


def named(protocol: Protocol, replays: int) -> Strategy:
    """The strategy that the settings ask for with that many replays, see `Protocol`."""
    classifier = _classifier(protocol, replays)
    if not protocol.synaptic_strength:
        return classifier
    published = protocol.synaptic_rule == "published"
    rule = synaptic.PUBLISHED if published else synaptic.Rule()
    return Ar1Star(classifier.admission, classifier, protocol.synaptic_strength, rule)


def _classifier(protocol: Protocol, replays: int) -> Strategy:
    admission = _admission(protocol)
    kind = protocol.classifier
    if kind == "auto":
        kind = "cwr*" if replays and not protocol.center_momentum else "plain"
    match kind:
        case "plain":
            return Strategy(admission)
        case "ncm-cosine":
            return NearestMean(admission, "cosine", power=protocol.feature_power)
        case "ncm-mahalanobis":
            return NearestMean(admission, "mahalanobis", protocol.shrinkage, protocol.feature_power)
        case _:
            by_entries = protocol.consolidation == "entries"
            return CwrStar(admission, by_entries, protocol.score_unseen)


def _admission(protocol: Protocol) -> Admission:
    if protocol.admission == "quota":
        return Quota(protocol.memory_grows)
    return Lowest(balanced=protocol.admission == "balanced")
