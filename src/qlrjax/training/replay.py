"""The replay memory: latents as packed bytes, with their labels.

A memory is a pytree. Codes of 1 to 8 bits take exactly ceil(elements * bits / 8) bytes a latent,
what the device would hold; 32 bits keep float32 latents, the baseline. Zero slots: no replay.
"""

import dataclasses

import flax.struct
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32, UInt8

from qlrjax.integer import fixedpoint, latent_codes
from qlrjax.training import draws
from qlrjax.training.protocol import FLOAT_BITS, latent_bytes

Latents = UInt8[Array, "n *shape"] | Float32[Array, "n *shape"]


@flax.struct.dataclass
class ReplayMemory:
    """Replayed latents of one latent layer.

    Attributes:
        data: uint8[slots, bytes] of packed codes, or float32[slots, elements] at 32 bits.
        labels: int32[slots], -1 where the slot is free.
        filled: int32, the number of slots in use; they are the first ones.
        shape: Height, width and channels of a latent.
        bits: 1 to 8, or 32 for float32.
        latent_max: Span of the codes: a_max, the real value of the largest one, after a ReLU.
        latent_min: Real value of code 0; below 0 only where latents can be negative.
    """

    data: UInt8[Array, "slots bytes"] | Float32[Array, "slots elements"]
    labels: Int32[Array, " slots"]
    filled: Int32[Array, ""]
    shape: tuple[int, int, int] = flax.struct.field(pytree_node=False)
    bits: int = flax.struct.field(pytree_node=False)
    latent_max: float = flax.struct.field(pytree_node=False)
    latent_min: float = flax.struct.field(
        pytree_node=False, default=0.0, metadata={"unsaid_by_default": True}
    )

    @property
    def slots(self) -> int:
        """Number of latents the memory can hold."""
        return self.labels.shape[0]

    @property
    def bytes(self) -> int:
        """Bytes of the latents, without labels."""
        return self.data.size * self.data.dtype.itemsize


def init(
    slots: int,
    shape: tuple[int, int, int],
    bits: int,
    latent_max: float = 1.0,
    latent_min: float = 0.0,
) -> ReplayMemory:
    """An empty memory; see `ReplayMemory` for the arguments.

    Raises:
        ValueError: `slots` is negative or `bits` is not possible.
    """
    if slots < 0:
        raise ValueError(f"{slots} replays are not possible; choose 0 or more")
    elements = shape[0] * shape[1] * shape[2]
    size = latent_bytes(elements, bits)
    if bits == FLOAT_BITS:
        data = jnp.zeros((slots, elements), jnp.float32)
    else:
        data = jnp.zeros((slots, size), jnp.uint8)
    labels = jnp.full((slots,), -1, jnp.int32)
    filled = jnp.zeros((), jnp.int32)
    return ReplayMemory(data, labels, filled, shape, bits, latent_max, latent_min)


def encode(memory: ReplayMemory, latents: Latents) -> Array:
    """What the memory stores for latents: rows of packed codes, or of floats.

    8-bit codes are narrowed in integers; float latents are quantized. See `quantize`.
    """
    flat = latents.reshape(latents.shape[0], -1)
    if memory.bits == FLOAT_BITS:
        return decode_codes(flat, memory.latent_max, memory.latent_min)
    if flat.dtype == jnp.uint8:
        codes = fixedpoint.narrow(flat, memory.bits)
    else:
        codes = latent_codes.quantize(flat, memory.latent_max, memory.bits, memory.latent_min)
    return fixedpoint.pack(codes, memory.bits)


def decode_codes(
    latents: Latents, latent_max: float, latent_min: float = 0.0
) -> Float32[Array, "n *shape"]:
    """Real values of latents as the frozen stage gives them: 8-bit codes, or floats already."""
    if latents.dtype == jnp.uint8:
        return latent_codes.dequantize(latents, latent_max, 8, latent_min)
    return latents


def read(memory: ReplayMemory, slots: Int32[Array, " k"]) -> Float32[Array, "k h w c"]:
    """Dequantized latents of the given slots, which must be below `memory.slots`."""
    rows = memory.data[slots]
    if memory.bits != FLOAT_BITS:
        height, width, channels = memory.shape
        codes = fixedpoint.unpack(rows, memory.bits, height * width * channels)
        rows = latent_codes.dequantize(codes, memory.latent_max, memory.bits, memory.latent_min)
    return rows.reshape(rows.shape[0], *memory.shape)


def quota(slots: int, event: int, new: int) -> int:
    """How many latents of an event (from 0) are admitted: min(slots // (event + 1), new)."""
    return min(slots // (event + 1), new)


def admit(
    memory: ReplayMemory,
    key: draws.Key,
    latents: Latents,
    labels: Int32[Array, " n"],
    valid: Bool[Array, " n"],
    count: Int32[Array, ""],
    grows: bool = True,
) -> ReplayMemory:
    """Writes `count` random valid latents into free slots first, then over random used ones.

    No new latent is taken twice and no slot is written twice in one call. `count` must not exceed
    the number of valid latents or of slots, as `quota` guarantees; more is cut to that. A memory
    that does not grow takes its size from the first call: later ones write over used slots only.
    """
    most = min(latents.shape[0], memory.slots)
    if most == 0:
        return memory
    new_key, slot_key = draws.split(key)
    chosen = jnp.lexsort((draws.tickets(new_key, len(valid)), ~valid))[:most]
    index = jnp.arange(memory.slots)
    used = index < memory.filled
    tickets = draws.tickets(slot_key, memory.slots)
    turn = jnp.where(used, tickets, index.astype(tickets.dtype))
    room = memory.slots if grows else jnp.where(memory.filled == 0, memory.slots, memory.filled)
    last = used if grows else jnp.where(memory.filled == 0, used, ~used)
    targets = jnp.lexsort((turn, last))[:most]
    count = jnp.minimum(count, jnp.minimum(jnp.sum(valid.astype(jnp.int32)), most))
    count = count if grows else jnp.minimum(count, room)
    # Rows beyond the count are sent outside the memory, where a scatter drops them.
    targets = jnp.where(jnp.arange(most) < count, targets, memory.slots)
    rows = encode(memory, latents[chosen])
    return dataclasses.replace(
        memory,
        data=memory.data.at[targets].set(rows, mode="drop"),
        labels=memory.labels.at[targets].set(labels[chosen], mode="drop"),
        filled=jnp.minimum(memory.filled + count, room),
    )


def class_counts(memory: ReplayMemory, classes: int) -> Int32[Array, " classes"]:
    """How many stored latents each class has."""
    hits = memory.labels[:, None] == jnp.arange(classes)[None, :]
    return jnp.sum(hits.astype(jnp.int32), axis=0)
