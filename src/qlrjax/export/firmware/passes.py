"""The passes of a mini-batch as `qlr_step.c` makes them, in multiply-accumulates."""

import functools

from qlrjax.export.firmware import graph
from qlrjax.export.firmware.graph import LATENT, Graph
from qlrjax.export.firmware.shape import Shape
from qlrjax.network import Layer


def step_macs(shape: Shape, kept: tuple[bool, ...], keeps_gradient: bool) -> int:
    """Multiply-accumulates of one mini-batch, recomputation included.

    Args:
        shape: Sizes of a session.
        kept: Layers whose outputs of the whole mini-batch stay.
        keeps_gradient: Gradients stay from one pass to the next.
    """
    head = 3 * shape.head if shape.layers else 2 * shape.head
    if shape.own_statistics:
        macs, heads = _walks(shape.layers, kept, keeps_gradient)
        return shape.minibatch * (macs + heads * head)
    forward = sum(layer.macs for layer in shape.layers)
    return shape.minibatch * (2 * forward + sum(_handed(shape.layers)) + head)


def _handed(layers: tuple[Layer, ...]) -> list[int]:
    """Multiply-accumulates of every layer's input gradient, 0 where none is wanted."""
    links = graph.of_layers(layers)
    return [layer.macs if links.hands_down(at) else 0 for at, layer in enumerate(layers)]


@functools.lru_cache(maxsize=4096)
def _walks(
    layers: tuple[Layer, ...], kept: tuple[bool, ...], keeps_gradient: bool
) -> tuple[int, int]:
    """Multiply-accumulates of one sample's layers in all passes, and how often the head is used."""
    links, handed = graph.of_layers(layers), _handed(layers)
    macs, last = [layer.macs for layer in layers], len(layers) - 1
    first = {at for at in range(last + 1) if kept[at]} | set(links.normalised)
    total = sum(macs[at] for layer in first for at in graph.missing(links, kept, {layer}))
    above, heads = last + 1, 0
    for target in (*reversed(links.normalised), LATENT):
        continues = keeps_gradient and above <= last
        highest = above if continues else last
        learning = range(target + 1, min(above, last) + 1)
        read = _read(layers, links, range(max(target, 0), highest + 1), learning)
        wanted = {at for at in read if not kept[at]}
        total += sum(macs[at] for at in graph.missing(links, kept, wanted))
        total += sum(handed[target + 1 : highest + 1]) + sum(macs[at] for at in learning)
        heads += 0 if continues else 1
        above = target
    return total, heads


def _read(layers: tuple[Layer, ...], links: Graph, outputs: range, learning: range) -> set[int]:
    """Outputs that a pass back reads: those of its layers, and what some of them take."""
    found = set(outputs)
    for at in range(learning.start, outputs.stop):
        if layers[at].kind == "max_pool" or (layers[at].has_weights and at in learning):
            found |= set(links.sources[at]) - {LATENT}
    return found
