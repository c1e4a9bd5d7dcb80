"""Which latents make up every mini-batch of a learning event: a plan, made before training starts.

A plan is an int32 array [mini-batches, size] of rows into the event's new latents followed by the
replay memory: row i < new_rows is new latent i, row new_rows + s is slot s. It is a pure function
of (key, epoch) and sizes, so there is no loader state, and one compiled event serves them all.

For N new and R replayed latents and mini-batches of 128, ar1-pytorch puts N // ((N + R) // 128) new
ones into each and reads the replays in storage order, the same slices every epoch; 300 new and 1500
replayed give 21 + 107. It drops the new latents that are left over; `drop_remainder=False` learns
them in one more, filled up with replays (the Caffe original also makes 15 of 300 + 1500).
"""

import dataclasses

import numpy as np
from jaxtyping import Int32

from qlrjax.training import draws


@dataclasses.dataclass(frozen=True)
class Composition:
    """Sizes of an event's mini-batches.

    Attributes:
        size: Latents in a mini-batch.
        new: New ones among them.
        count: Mini-batches an epoch.
        rereads: Where stored latents run out, the first ones are read again; False leaves their
            places in the plan at -1, which makes short mini-batches (ar1-pytorch).
    """

    size: int
    new: int
    count: int
    rereads: bool = True


def compose(new: int, replays: int, size: int, drop_remainder: bool) -> Composition:
    """The rule above. Without replays, mini-batches hold new latents only, wrapping at the end.

    Args:
        new: Latents of the event, at least 1.
        replays: Slots of the replay memory; 0 for none, or for the first event.
        size: Latents in a mini-batch.
        drop_remainder: See the module.
    """
    if new < 1 or size < 1 or replays < 0:
        raise ValueError(
            f"{new} new latents, {replays} replays and mini-batches of {size} cannot be composed; "
            "new latents and the mini-batch must be at least 1"
        )
    if replays == 0:
        size = min(size, new)
        return Composition(size, size, -(-new // size))
    share = min(max(new // max((new + replays) // size, 1), 1), size)
    count = new // share if drop_remainder else -(-new // share)
    return Composition(size, share, max(count, 1))


def plan(
    key: draws.Key,
    composition: Composition,
    new: int,
    new_rows: int,
    filled: int,
    epochs: int,
    reshuffle: bool,
) -> Int32[np.ndarray, "batches size"]:
    """Rows of every mini-batch of all epochs.

    Args:
        key: Of the event.
        composition: From `compose`.
        new: Latents of the event.
        new_rows: Rows that the new latents take, padding included; slot s is row new_rows + s.
        filled: Slots in use; read cyclically.
        epochs: Passes over the new latents.
        reshuffle: A new order every epoch; otherwise the order is drawn once (ar1-pytorch).
    """
    if not reshuffle:
        only = _epoch(draws.fold_in(key, 0), composition, new, new_rows, filled)
        return np.tile(only, (epochs, 1))
    keys = [draws.fold_in(key, epoch) for epoch in range(epochs)]
    return np.concatenate([_epoch(own, composition, new, new_rows, filled) for own in keys])


def _epoch(
    key: draws.Key, composition: Composition, new: int, new_rows: int, filled: int
) -> np.ndarray:
    order = draws.permutation(key, new)
    rows = np.empty((composition.count, composition.size), np.int32)
    cursor = 0
    for index in range(composition.count):
        mine = order[index * composition.new : (index + 1) * composition.new]
        others = composition.size - len(mine)
        if filled:
            slot = cursor + np.arange(others)
            rest = new_rows + slot % filled
            if not composition.rereads:
                rest = np.where(slot < filled, rest, -1)
            cursor += others
        else:
            rest = np.resize(order, others)  # wraps to the event's first latents
        rows[index] = np.concatenate([mine, rest])
    return rows
