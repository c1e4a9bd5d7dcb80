"""The grids of `learner_search`: names and settings."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

from qlrjax import presets
from qlrjax.settings import Settings, StreamSettings
from qlrjax.training.protocol import Protocol

# Below the linear layer a cell takes minutes, so fewer of them are crossed.
RATES = ((1e-3, 2e-3), (1e-3, 2e-3, 5e-3, 1e-2))
EPOCHS = ((4,), (2, 4, 8, 16))
# Below the linear layer, layers may learn at another rate than the head: (rate, head's, epochs).
BODY_RATES = (
    (2e-3, 0.3, 4),
    (2e-3, 3.0, 4),
    (1e-3, 3.0, 4),
    (5e-4, 1.0, 4),
    (5e-4, 4.0, 4),
    (2e-4, 10.0, 4),
    (2e-3, 1.0, 2),
)


def search_grid(layer: int) -> Iterator[tuple[str, Settings]]:
    """Normalisation x head x rate x epochs; at the linear layer there is nothing to normalise."""
    norms = ("renorm", "running", "batch") if layer < 27 else ("renorm",)
    for norm, head, rate, epochs in itertools.product(
        norms, ("cwr*", "entries", "plain"), RATES[layer == 27], EPOCHS[layer == 27]
    ):
        protocol = Protocol(
            normalization=norm,
            classifier="plain" if head == "plain" else "cwr*",
            consolidation="entries" if head == "entries" else "class",
            first_learning_rate=rate,
            learning_rate=rate,
            epochs=epochs,
        )
        yield f"{norm} {head} {rate:g} x{epochs}", Settings(protocol=protocol)
    yield from distance_grid(layer)
    apart = BODY_RATES if layer < 27 else ()
    for norm, (rate, head_rate, epochs) in itertools.product(norms[:2], apart):
        protocol = Protocol(
            normalization=norm,
            classifier="cwr*",
            first_learning_rate=rate,
            learning_rate=rate,
            head_rate=head_rate,
            epochs=epochs,
        )
        yield f"{norm} cwr* {rate:g} x{epochs} head x{head_rate:g}", Settings(protocol=protocol)


def distance_grid(layer: int) -> Iterator[tuple[str, Settings]]:
    """Shrinkage x power of the features."""
    del layer
    for power, shrinkage in itertools.product((1.0, 0.7, 0.5, 0.3), (0.03, 0.1, 0.2, 0.4, 0.7)):
        protocol = Protocol(classifier="ncm-mahalanobis", shrinkage=shrinkage, feature_power=power)
        suffix = "" if power == 1 else f" of power {power:g}"
        yield f"ncm-mahalanobis {shrinkage:g}{suffix}", Settings(replays=0, protocol=protocol)


def strategies_grid(layer: int) -> Iterator[tuple[str, Settings]]:
    """The table of strategies."""
    del layer
    yield "default", Settings()
    yield "ncm-cosine", presets.preset("ncm-cosine")
    yield "ncm-mahalanobis", presets.preset("ncm-mahalanobis")
    yield "ncm-root", presets.preset("ncm-root")
    yield "cwrstar", presets.preset("cwrstar")
    yield "fine-tuning", presets.preset("fine-tuning")
    faithful = presets.preset("ar1star-free")
    yield "ar1star-free 8 bits", dataclasses.replace(faithful, replays=500)
    yield "joint", Settings(replays=0, stream=StreamSettings(joint=True))
    running = Protocol(normalization="running")
    yield "running statistics", Settings(protocol=running)
    yield "cwr* head", Settings(protocol=Protocol(classifier="cwr*"))
    yield "cwr* head without replays", Settings(replays=0, protocol=Protocol(classifier="cwr*"))
    yield "plain head without replays", Settings(replays=0)
    plain = Protocol(classifier="plain", center_momentum=0.0)
    yield "plain head uncentered", Settings(protocol=plain)


def published_grid(layer: int) -> Iterator[tuple[str, Settings]]:
    """ar1star-free as published: a float stage and float replays."""
    del layer
    faithful = dataclasses.replace(
        presets.preset("ar1star-free"), replays=500, bits=32, frozen="float32"
    )
    yield "ar1star-free", faithful
    textbook = dataclasses.replace(faithful.protocol, consolidation="class")
    yield "ar1star-free but once a class", dataclasses.replace(faithful, protocol=textbook)
    for rule in ("class", "entries"):
        plain = Protocol(
            first_learning_rate=1e-3,
            learning_rate=5e-5,
            classifier="cwr*",
            drop_remainder=True,
            consolidation=rule,
            center_momentum=0.0,
        )
        name = f"our ways, published rates, once {'a class' if rule == 'class' else 'an entry'}"
        yield name.replace(",", ";"), dataclasses.replace(faithful, protocol=plain)


def admission_grid(layer: int) -> Iterator[tuple[str, Settings]]:
    """The three rules that fill the replay memory."""
    del layer
    for rule in ("quota", "reservoir", "balanced"):
        name = "default" if rule == "quota" else f"admission {rule}"
        yield name, Settings(protocol=Protocol(admission=rule))


def bits_grid(layer: int) -> Iterator[tuple[str, Settings]]:
    """Widths of a stored code below an integer stage, against floats throughout."""
    del layer
    yield "float32", Settings(bits=32, frozen="float32")
    for bits in (8, 7, 6, 5):
        yield "default" if bits == 8 else f"{bits} bits", Settings(bits=bits)


def centers_grid(layer: int) -> Iterator[tuple[str, Settings]]:
    """How fast the center follows the mini-batches."""
    del layer
    for share in (0.005, 0.02, 0.1, 0.5):
        name = "default" if share == Protocol.center_momentum else f"center {share:g}"
        yield name, Settings(protocol=Protocol(center_momentum=share))


GRIDS = {
    "search": search_grid,
    "distance": distance_grid,
    "strategies": strategies_grid,
    "published": published_grid,
    "admission": admission_grid,
    "bits": bits_grid,
    "centers": centers_grid,
}


def uncentered(grid: Iterable[tuple[str, Settings]]) -> Iterator[tuple[str, Settings]]:
    """Those of a grid that center features, without that."""
    for name, chosen in grid:
        protocol = chosen.protocol
        if protocol.center_momentum and not protocol.classifier.startswith("ncm"):
            protocol = dataclasses.replace(protocol, center_momentum=0.0)
            yield f"{name} uncentered", dataclasses.replace(chosen, protocol=protocol)
