"""Which latents of an event the replay memory takes, and whose places they get."""

import dataclasses
from typing import Any

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32

from qlrjax.training import draws, replay
from qlrjax.training.replay import Latents, ReplayMemory

_FREE = 1.0  # drawn tickets are below it


@flax.struct.dataclass
class Offer:
    """What an event offers to the memory.

    Attributes:
        latents: As the frozen stage gives them.
        labels: int32[n].
        valid: Latents that may be stored: those that were learned.
        number: Of the event, from 0.
        key: Of the event.
    """

    latents: Latents
    labels: Int32[Array, " n"]
    valid: Bool[Array, " n"]
    number: Int32[Array, ""]
    key: draws.Key


@dataclasses.dataclass(frozen=True)
class Admission:
    """A rule: pure functions over a state of its own, None where it needs nothing."""

    def start(self, memory: ReplayMemory) -> Any:
        """The state before the first event."""
        del memory
        return None

    def admit(self, state: Any, memory: ReplayMemory, offer: Offer) -> tuple[Any, ReplayMemory]:
        """The state and the memory after an event."""
        raise NotImplementedError

    def change_slots(
        self, state: Any, order: Int32[Array, " slots"], used: Bool[Array, " slots"]
    ) -> Any:
        """The state after slots moved, see `Strategy.change_slots`."""
        del order, used
        return state


@dataclasses.dataclass(frozen=True)
class Quota(Admission):
    """slots // (event + 1) random latents of an event, over random stored ones (ar1-pytorch).

    Attributes:
        grows: Free slots are filled first. False leaves the memory at the size that the first
            event gave it, as ar1-pytorch does.
    """

    grows: bool = True

    def admit(self, state: None, memory: ReplayMemory, offer: Offer) -> tuple[None, ReplayMemory]:
        """See the class."""
        learned = jnp.sum(offer.valid.astype(jnp.int32))
        count = jnp.minimum(memory.slots // (offer.number + 1), learned)
        return state, replay.admit(
            memory, offer.key, offer.latents, offer.labels, offer.valid, count, self.grows
        )


@dataclasses.dataclass(frozen=True)
class Lowest(Admission):
    """Every latent draws a ticket for good, and the lowest ones stay: exact uniform sampling.

    Attributes:
        balanced: False keeps the lowest tickets of all, which is a reservoir: every latent of the
            stream has the same chance to be stored (Vitter 1985). True ranks the tickets of each
            class by themselves and keeps the lowest ranks, so that all classes have as many places,
            whatever the stream brings (Chrysakis and Moens 2020 have the same aim).
    """

    balanced: bool = False

    def start(self, memory: ReplayMemory) -> Float32[Array, " slots"]:
        """Tickets of the stored latents; 1, above all of them, where a slot is free."""
        return jnp.full((memory.slots,), _FREE, jnp.float32)

    def change_slots(
        self,
        state: Float32[Array, " slots"],
        order: Int32[Array, " slots"],
        used: Bool[Array, " slots"],
    ) -> Float32[Array, " slots"]:
        """Tickets move with their latents."""
        return jnp.where(used, state[order], _FREE)

    def admit(
        self, state: Float32[Array, " slots"], memory: ReplayMemory, offer: Offer
    ) -> tuple[Float32[Array, " slots"], ReplayMemory]:
        """See the class."""
        slots, new = memory.slots, len(offer.labels)
        if slots == 0:
            return state, memory
        drawn = draws.fractions(offer.key, new)
        tickets = jnp.concatenate([state, jnp.where(offer.valid, drawn, _FREE)])
        labels = jnp.concatenate([memory.labels, offer.labels])
        rank = _rank_in_class(tickets, labels) if self.balanced else jnp.zeros_like(labels)
        is_free = tickets == _FREE
        order = jnp.lexsort((tickets, rank, is_free))
        stays = jnp.zeros((slots + new,), bool).at[order[:slots]].set(True) & ~is_free
        # Places of those that leave, then free ones; the newcomers take them in their own order.
        places = jnp.argsort(stays[:slots], stable=True)
        newcomers = jnp.argsort(~stays[slots:], stable=True)
        most = min(slots, new)
        count = jnp.sum(stays[slots:].astype(jnp.int32))
        targets = jnp.where(jnp.arange(most) < count, places[:most], slots)
        chosen = newcomers[:most]
        return state.at[targets].set(drawn[chosen], mode="drop"), dataclasses.replace(
            memory,
            data=memory.data.at[targets].set(
                replay.encode(memory, offer.latents[chosen]), mode="drop"
            ),
            labels=memory.labels.at[targets].set(offer.labels[chosen], mode="drop"),
            filled=jnp.sum(stays.astype(jnp.int32)),
        )


def _rank_in_class(tickets: Float32[Array, " n"], labels: Int32[Array, " n"]) -> Int32[Array, " n"]:
    """How many latents of its own class have a lower ticket."""
    order = jnp.lexsort((tickets, labels))
    ordered = labels[order]
    place = jnp.arange(len(labels), dtype=jnp.int32)
    first = jnp.concatenate([jnp.ones((1,), bool), ordered[1:] != ordered[:-1]])
    begins = jnp.where(first, place, 0)
    return jnp.zeros_like(place).at[order].set(place - _running_max(begins))


def _running_max(values: Int32[Array, " n"]) -> Int32[Array, " n"]:
    return jnp.maximum.accumulate(values)
