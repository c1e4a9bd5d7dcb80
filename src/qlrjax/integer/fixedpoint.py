"""The arithmetic contract of the frozen stage: requantization in 32-bit words, and bit packing.

    y = clip((kappa * acc + lam) >> shift, 0, 2**bits - 1)
    y = clip((kappa_a * a + kappa_b * b + lam) >> shift, 0, 2**bits - 1)     of an add

Products and sums are exact in 64 bits and `>>` floors, as in PULP-NN (`pulp_nn_utils.c`) and DORY.
JAX has no 64-bit integers by default, so the 64-bit value is a pair (high, low) of 32-bit words.
Everything here is integer and traces without a float.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int32, UInt8

SHIFT_MAX = 31


def code_max(bits: int) -> int:
    """Largest code of an unsigned width of 1 to 8 bits.

    Raises:
        ValueError: `bits` is outside 1..8.
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"{bits} bits are not a width of codes; choose 1 to 8")
    return (1 << bits) - 1


def multiply_add(
    acc: Int32[Array, "*s"], kappa: Int32[Array, "*#s"], lam: Int32[Array, "*#s"]
) -> tuple[Int32[Array, "*s"], Int32[Array, "*s"]]:
    """Exact kappa * acc + lam as (high, low) words of a two's complement 64-bit integer.

    The low word is an int32 that carries the unsigned bits.
    """
    kappa, lam = jnp.broadcast_to(kappa, acc.shape), jnp.broadcast_to(lam, acc.shape)
    product_low = acc * kappa
    low = product_low + lam
    carry = _unsigned(low) < _unsigned(product_low)
    high = jax.lax.mulhi(acc, kappa) + (lam >> 31) + carry.astype(jnp.int32)
    return high, low


def add_words(
    a: tuple[Int32[Array, "*s"], Int32[Array, "*s"]],
    b: tuple[Int32[Array, "*s"], Int32[Array, "*s"]],
) -> tuple[Int32[Array, "*s"], Int32[Array, "*s"]]:
    """Exact sum of two 64-bit values in (high, low) words; it must fit 64 bits."""
    low = a[1] + b[1]
    carry = _unsigned(low) < _unsigned(a[1])
    return a[0] + b[0] + carry.astype(jnp.int32), low


def shift_clip(
    high: Int32[Array, "*s"], low: Int32[Array, "*s"], shift: int, bits: int
) -> UInt8[Array, "*s"]:
    """clip(value >> shift, 0, 2**bits - 1) of a 64-bit value in two words, 0 <= shift <= 31."""
    # After the shift, the value fits 32 bits exactly when the shifted high word is all sign.
    top = high >> shift
    body = (_unsigned(low) >> np.uint32(shift)).astype(jnp.int32)
    if shift:
        body = body | (high << (32 - shift))
    limit = code_max(bits)
    small = (top == 0) & (body >= 0) & (body <= limit)
    code = jnp.where(high < 0, 0, jnp.where(small, body, limit))
    return code.astype(jnp.uint8)


def requantize(
    acc: Int32[Array, "*s"],
    kappa: Int32[Array, "*#s"],
    lam: Int32[Array, "*#s"],
    shift: int,
    bits: int = 8,
) -> UInt8[Array, "*s"]:
    """The contract of this module's docstring, for kappa and lam that broadcast against acc."""
    high, low = multiply_add(acc, kappa, lam)
    return shift_clip(high, low, shift, bits)


def requantize_sum(
    a: UInt8[Array, "*s"],
    b: UInt8[Array, "*s"],
    kappas: tuple[Int32[Array, "*#s"], Int32[Array, "*#s"]],
    lam: Int32[Array, "*#s"],
    shift: int,
    bits: int = 8,
) -> UInt8[Array, "*s"]:
    """clip((kappa_a * a + kappa_b * b + lam) >> shift, 0, 2**bits - 1), exact in 64 bits."""
    first = multiply_add(a.astype(jnp.int32), kappas[0], lam)
    second = multiply_add(b.astype(jnp.int32), kappas[1], jnp.zeros_like(lam))
    return shift_clip(*add_words(first, second), shift, bits)


def narrow(codes: UInt8[Array, "*s"], bits: int) -> UInt8[Array, "*s"]:
    """8-bit codes to `bits` bits over the same range: round(code * (2**bits - 1) / 255).

    Integers only. 255 is odd, so no tie exists. 8 bits are returned as they are.
    """
    limit = code_max(bits)
    if bits == 8:
        return codes
    return ((2 * limit * codes.astype(jnp.int32) + 255) // 510).astype(jnp.uint8)


def packed_bytes(elements: int, bits: int) -> int:
    """Bytes of `elements` packed codes: ceil(elements * bits / 8)."""
    code_max(bits)
    return -(-elements * bits // 8)


def pack(codes: UInt8[Array, "*b n"], bits: int) -> UInt8[Array, "*b m"]:
    """Packs codes along the last axis, least significant bit first, without gaps.

    Code i occupies bits i*bits to i*bits + bits - 1 of the byte string, bit 0 being the least
    significant bit of byte 0. Codes must be below 2**bits; higher bits are dropped. The tail of the
    last byte is zero.
    """
    elements = codes.shape[-1]
    if bits == 8:
        return codes
    # 8 codes fill `bits` bytes: gather, for every byte, the (at most 9) codes that reach into it.
    groups = -(-elements // 8)
    padding = [(0, 0)] * (codes.ndim - 1) + [(0, groups * 8 - elements)]
    grouped = jnp.pad(codes & np.uint8(code_max(bits)), padding)
    grouped = grouped.reshape(*codes.shape[:-1], groups, 8).astype(jnp.int32)
    columns = [_packed_byte(grouped, byte, bits) for byte in range(bits)]
    packed = jnp.stack(columns, axis=-1).reshape(*codes.shape[:-1], groups * bits)
    return packed[..., : packed_bytes(elements, bits)].astype(jnp.uint8)


def unpack(packed: UInt8[Array, "*b m"], bits: int, elements: int) -> UInt8[Array, "*b n"]:
    """Inverse of `pack`: the first `elements` codes of the last axis."""
    if bits == 8:
        return packed
    groups = -(-elements // 8)
    padding = [(0, 0)] * (packed.ndim - 1) + [(0, groups * bits - packed.shape[-1])]
    grouped = jnp.pad(packed, padding).reshape(*packed.shape[:-1], groups, bits)
    grouped = grouped.astype(jnp.int32)
    codes = []
    for code in range(8):
        byte, offset = divmod(code * bits, 8)
        value = grouped[..., byte] >> offset
        if offset + bits > 8:
            value = value | (grouped[..., byte + 1] << (8 - offset))
        codes.append(value & code_max(bits))
    flat = jnp.stack(codes, axis=-1).reshape(*packed.shape[:-1], groups * 8)
    return flat[..., :elements].astype(jnp.uint8)


def _packed_byte(grouped: Int[Array, "*b 8"], byte: int, bits: int) -> Int[Array, "*b"]:
    total = jnp.zeros(grouped.shape[:-1], jnp.int32)
    for code in range(8):
        offset = code * bits - byte * 8
        if -bits < offset < 8:
            value = grouped[..., code]
            total = total | (value << offset if offset >= 0 else value >> -offset)
    return total & 0xFF


def _unsigned(word: Int32[Array, "*s"]) -> Array:
    return jax.lax.bitcast_convert_type(word, jnp.uint32)
