"""Who takes what among the trained layers, and which gradients a walk back holds at a time."""

import dataclasses
import functools
from collections.abc import Mapping

from qlrjax.export.firmware import cells
from qlrjax.network import Layer

LATENT = -1


@dataclasses.dataclass(frozen=True)
class Graph:
    """Relations between trained layers, which are named by their places in the order.

    Attributes:
        sources: What each takes; `LATENT` is the latent.
        until: The last that takes each one's output; the number of layers is the head.
        learns: Whether it or a layer below it has weights, so that its gradient is wanted.
        normalised: Those with batch norm.
    """

    sources: tuple[tuple[int, ...], ...]
    until: tuple[int, ...]
    learns: tuple[bool, ...]
    normalised: tuple[int, ...]

    @property
    def is_chain(self) -> bool:
        """Whether every layer takes the one before, the first the latent."""
        return all(taken == (at - 1,) for at, taken in enumerate(self.sources))

    def hands_down(self, layer: int) -> bool:
        """Whether a layer that it takes wants a gradient."""
        return any(source != LATENT and self.learns[source] for source in self.sources[layer])

    def waiting(self, above: int) -> tuple[int, ...]:
        """Layers whose gradients wait when all behind `above` have handed theirs down."""
        return tuple(at for at in range(above + 1) if self.until[at] > above and self.learns[at])


@functools.lru_cache(maxsize=64)
def of_layers(layers: tuple[Layer, ...]) -> Graph:
    """Relations of the layers above a cut, without the classifier."""
    places = {layer.name: at for at, layer in enumerate(layers)}
    sources = tuple(tuple(places.get(name, LATENT) for name in one.inputs) for one in layers)
    until, learns = [len(layers)] * len(layers), []
    for at, taken in enumerate(sources):
        for source in set(taken) - {LATENT}:
            until[source] = at
        below = any(learns[source] for source in taken if source != LATENT)
        learns.append(layers[at].has_weights or below)
    normalised = tuple(at for at, layer in enumerate(layers) if layer.batch_norm)
    return Graph(sources, tuple(until), tuple(learns), normalised)


@functools.lru_cache(maxsize=64)
def gradients(layers: tuple[Layer, ...]) -> cells.Cells:
    """Places of the gradients of one sample's outputs, in elements.

    A gradient is there from the last layer that takes the output down to the layer itself. A chain
    needs two ends that take turns.
    """
    graph = of_layers(layers)
    if graph.is_chain:
        largest = max([1, *(layer.out_elements for layer in layers)])
        ends = {at: (len(layers) - 1 - at) % 2 * largest for at in range(len(layers))}
        return cells.Cells(ends, 2 * largest if layers else 0)
    sizes = {at: one.out_elements for at, one in enumerate(layers) if graph.learns[at]}
    return cells.lowest(sizes, dict(enumerate(graph.until)), {})


@functools.lru_cache(maxsize=64)
def kept_elements(layers: tuple[Layer, ...]) -> int:
    """Elements of the gradients of one sample that may wait between two passes, at most."""
    graph = of_layers(layers)
    waiting = (graph.waiting(target) for target in graph.normalised)
    return max([1, *(sum(layers[at].out_elements for at in row) for row in waiting)])


def missing(graph: Graph, kept: tuple[bool, ...], wanted: set[int]) -> set[int]:
    """Layers to compute for the outputs of `wanted`, when those of kept layers are there."""
    found = set(wanted)
    for at in range(max(wanted, default=-1), -1, -1):
        if at in found:
            found |= {one for one in graph.sources[at] if one != LATENT and not kept[one]}
    return found


def places_of(layers: tuple[Layer, ...]) -> Mapping[int, int]:
    """First element of each layer's gradient; 0 where none is wanted."""
    found = gradients(layers).places
    return {at: found.get(at, 0) for at in range(len(layers))}
