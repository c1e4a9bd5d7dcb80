"""Where the frozen stage's outputs lie in the arena while an image passes.

A chain needs two ends: outputs go to the high end and the low in turn. In a graph an output stays
until its last taker is done; the largest are placed first, each as low as those allow that are
there at the same time (Pisarchyk and Lee, arXiv 2001.03288, greedy by size).
"""

import dataclasses
from collections.abc import Mapping

from qlrjax.integer import frozen
from qlrjax.integer.frozen import Stage

_ALIGNMENT = 4


@dataclasses.dataclass(frozen=True)
class Cells:
    """Places of the image (`frozen.IMAGE`) and of every layer's output.

    Attributes:
        places: First byte by the layer's place in the stage; the image's is 0.
        bytes: Of all of them.
    """

    places: dict[int, int]
    bytes: int


def of_stage(stage: Stage, shapes: Mapping[int, tuple[int, int, int]]) -> Cells:
    """Places that no two outputs share at the same time.

    Args:
        stage: Integer layers.
        shapes: Height, width and channels of the image, by `frozen.IMAGE`, and of every output.
    """
    sizes = {at: height * width * channels for at, (height, width, channels) in shapes.items()}
    if frozen.is_chain(stage):
        pairs = [sizes[at - 1] + sizes[at] for at in range(len(stage))]
        total = _aligned(max([sizes[frozen.IMAGE], *pairs]))
        ends = {at: 0 if at % 2 else total - sizes[at] for at in range(len(stage))}
        return Cells({frozen.IMAGE: 0} | ends, total)
    until = {at: at for at in shapes}
    for index, layer in enumerate(stage):
        for source in frozen.sources(layer, index):
            until[source] = index
    return lowest(sizes, until, {frozen.IMAGE: 0})


def lowest(sizes: Mapping[int, int], until: Mapping[int, int], placed: Mapping[int, int]) -> Cells:
    """Each as low as those allow that are there at the same time, the largest first.

    Args:
        sizes: Of each; it is there from its key on.
        until: And until this key, that one included.
        placed: Places that are given.
    """
    places = dict(placed)
    for at in sorted(sizes.keys() - places.keys(), key=lambda at: (-sizes[at], at)):
        beside = sorted(
            (places[other], places[other] + _aligned(sizes[other]))
            for other in places
            if other <= until[at] and until[other] >= at
        )
        place = 0
        for start, end in beside:
            if place + sizes[at] <= start:
                break
            place = max(place, end)
        places[at] = place
    return Cells(places, max([0, *(places[at] + _aligned(sizes[at]) for at in places)]))


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
