"""Every random draw of learning, from one of two generators.

"jax" is JAX's own. "portable" is a counter-based hash of 32-bit words that a microcontroller
computes as well (`qlr_draws.c` of the firmware), so that device and JAX learn the same samples in
the same order. With all arithmetic modulo 2**32:

    mix(x):      x ^= x >> 16;  x *= 0x7feb352d;  x ^= x >> 15;  x *= 0x846ca68b;  x ^= x >> 16
    fold(k, w):  mix(k ^ mix(w + 0x9e3779b9))
    key of an event:   fold(fold(0, seed), event)
    its parts:         fold(key, 0) orders the new latents, fold(key, 1) admits
    ticket of item i:  fold(key, i);  a permutation sorts the items by their tickets

`mix` (Wellons' lowbias32) has an inverse, so for one key no two items share a ticket, and every
way to sort gives the same order. A key is a value: JAX's typed key, or a uint32 scalar.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32, PRNGKeyArray, UInt32

from qlrjax.training.protocol import Generator

Key = PRNGKeyArray | UInt32[Array, ""]


def start(generator: Generator, seed: int, event: int) -> Key:
    """The key of one event."""
    if generator == "jax":
        return jax.random.fold_in(jax.random.key(seed), event)
    return fold_in(fold_in(jnp.zeros((), jnp.uint32), seed), event)


def fold_in(key: Key, word: int) -> Key:
    """Another key, a function of this one and a number of 0 to 2**32 - 1."""
    if _is_portable(key):
        return _fold(key, jnp.asarray(word, jnp.uint32))
    return jax.random.fold_in(key, word)


def split(key: Key) -> tuple[Key, Key]:
    """Two keys for two purposes."""
    if _is_portable(key):
        return fold_in(key, 0), fold_in(key, 1)
    one, other = jax.random.split(key)
    return one, other


def permutation(key: Key, count: int) -> Int32[np.ndarray, " count"]:
    """0 to count - 1 in random order."""
    if _is_portable(key):
        return np.argsort(np.asarray(tickets(key, count))).astype(np.int32)
    return np.asarray(jax.random.permutation(key, count), np.int32)


def tickets(key: Key, count: int) -> Float32[Array, " count"] | UInt32[Array, " count"]:
    """A number for every item; the smallest ones are drawn first."""
    if _is_portable(key):
        return _fold(jnp.broadcast_to(key, (count,)), jnp.arange(count, dtype=jnp.uint32))
    return jax.random.uniform(key, (count,))


def fractions(key: Key, count: int) -> Float32[Array, " count"]:
    """As `tickets`, from 0 to below 1 whatever the generator; 24 bits of it."""
    numbers = tickets(key, count)
    if _is_portable(key):
        return (numbers >> np.uint32(8)).astype(jnp.float32) * np.float32(2**-24)
    return numbers


def _is_portable(key: Key) -> bool:
    return key.dtype == jnp.uint32


def _fold(key: UInt32[Array, "*s"], word: UInt32[Array, "*s"]) -> UInt32[Array, "*s"]:
    return _mix(key ^ _mix(word + np.uint32(0x9E3779B9)))


def _mix(x: UInt32[Array, "*s"]) -> UInt32[Array, "*s"]:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))
