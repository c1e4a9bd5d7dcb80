"""The passes of a mini-batch as `qlr_step.c` makes them, in multiply-accumulates."""

import functools

from qlrjax.export.firmware import graph
from qlrjax.export.firmware.graph import LATENT, Graph
from qlrjax.export.firmware.shape import Shape


@functools.lru_cache(maxsize=8192)
def step_macs(shape: Shape, kept: tuple[bool, ...], keeps_gradient: bool) -> int:
    """Multiply-accumulates of one mini-batch, recomputation included.

    Args:
        shape: Sizes of a session.
        kept: Layers whose outputs of the whole mini-batch stay.
        keeps_gradient: Gradients stay from one pass to the next.
    """
    links = graph.of_layers(shape.layers)
    macs = [layer.macs for layer in shape.layers]
    last = len(macs) - 1
    head = 3 * shape.head if macs else 2 * shape.head
    handed = [count if links.hands_down(at) else 0 for at, count in enumerate(macs)]
    if not shape.own_statistics:
        return shape.minibatch * (2 * sum(macs) + sum(handed) + head)
    first = {at for at in range(last + 1) if kept[at]} | set(links.normalised)
    total = sum(macs[at] for layer in first for at in graph.missing(links, kept, {layer}))
    above = last + 1
    for target in (*reversed(links.normalised), LATENT):
        continues = keeps_gradient and above <= last
        highest = above if continues else last
        learning = range(target + 1, min(above, last) + 1)
        wanted = _read(shape, links, kept, range(max(target, 0), highest + 1), learning)
        total += sum(macs[at] for at in graph.missing(links, kept, wanted))
        total += 0 if continues else head
        total += sum(handed[at] for at in range(target + 1, highest + 1))
        total += sum(macs[at] for at in learning)
        above = target
    return shape.minibatch * total


def _read(
    shape: Shape, links: Graph, kept: tuple[bool, ...], outputs: range, learning: range
) -> set[int]:
    """Outputs that a pass back reads and that are not kept: of its layers, and some inputs."""
    found = {at for at in outputs if not kept[at]}
    for at in outputs:
        layer = shape.layers[at]
        if at >= learning.start and (
            layer.kind == "max_pool" or (layer.has_weights and at in learning)
        ):
            found |= {one for one in links.sources[at] if one != LATENT and not kept[one]}
    return found
