"""Element by element: SGD, dequantize, ReLU, and replay codes packed and unpacked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8, UInt16
from support.values.tile_values import F32, U8, KernelValues, TileArray

from qlrjax.integer import fixedpoint


def sgd(
    w: Float[Array, " n"],
    g: Float[Array, " n"],
    m: Float[Array, " n"],
    momentum: Float[Array, ""],
    rate: Float[Array, ""],
    decay: Float[Array, ""],
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Step: m = momentum m + g + decay w; w -= rate m. Returns (w, m)."""
    m = m * momentum + (g + decay * w)
    return w - rate * m, m


def dequantize(codes: UInt8[Array, " n"], scale: Float[Array, ""]) -> tuple[Float[Array, " n"]]:
    """Codes times their scale."""
    return (codes.astype(jnp.float32) * scale,)


def relu(x: Float[Array, " n"]) -> tuple[UInt8[Array, " n"], Float[Array, " n"]]:
    """(mask of positive values, max(x, 0))."""
    return (x > 0).astype(jnp.uint8), jnp.maximum(x, 0.0)


def relu6(x: Float[Array, " n"]) -> tuple[UInt8[Array, " n"], Float[Array, " n"]]:
    """(mask of values inside, min(max(x, 0), 6))."""
    return ((x > 0) & (x < 6)).astype(jnp.uint8), jnp.clip(x, 0.0, 6.0)


def masked(dy: Float[Array, " n"], mask: UInt8[Array, " n"]) -> tuple[Float[Array, " n"]]:
    """Gradient where the mask is set."""
    return (jnp.where(mask > 0, dy, 0.0),)


def halves_up(halves: UInt16[Array, " n"]) -> tuple[Float[Array, " n"]]:
    """float16, by its bits, to float32."""
    return (jax.lax.bitcast_convert_type(halves, jnp.float16).astype(jnp.float32),)


def halves_down(x: Float[Array, " n"]) -> tuple[UInt16[Array, " n"]]:
    """float32 to the bits of the nearest float16."""
    return (jax.lax.bitcast_convert_type(x.astype(jnp.float16), jnp.uint16),)


def unpack(
    packed: UInt8[Array, "groups bits"], scale: Float[Array, ""]
) -> tuple[Float[Array, "groups 8"]]:
    """Little-endian bit stream of narrow codes to floats."""
    bits = packed.shape[1]
    single = jnp.unpackbits(packed, axis=1, bitorder="little").reshape(-1, 8, bits)
    codes = jnp.sum(single.astype(jnp.int32) << np.arange(bits, dtype=np.int32)[None, None], axis=2)
    return (codes.astype(jnp.float32) * scale,)


def narrow_and_pack(codes: UInt8[Array, "groups 8"], bits: int) -> tuple[UInt8[Array, "groups b"]]:
    """The high `bits` of 8-bit codes as a little-endian bit stream."""
    places = np.arange(8 - bits, 8, dtype=np.uint8)[None, None]
    single = (codes[:, :, None] >> places) & np.uint8(1)
    flat = single.reshape(codes.shape[0], 8 * bits)
    return (jnp.packbits(flat, axis=1, bitorder="little"),)


def round_and_pack(codes: UInt8[Array, "groups 8"], bits: int) -> tuple[UInt8[Array, "groups b"]]:
    """Codes narrowed as the library narrows them, as a little-endian bit stream."""
    small = fixedpoint.narrow(codes, bits)
    return (jnp.packbits(_bits(small, bits), axis=1, bitorder="little"),)


def _bits(codes: UInt8[Array, "groups 8"], bits: int) -> UInt8[Array, "groups flat"]:
    places = np.arange(bits, dtype=np.uint8)[None, None]
    return ((codes[:, :, None] >> places) & np.uint8(1)).reshape(codes.shape[0], 8 * bits)


def _words(name: str) -> TileArray:
    return TileArray(name, F32, lambda s: (s.elements,))


def _bytes(name: str) -> TileArray:
    return TileArray(name, U8, lambda s: (s.elements,))


def _halves() -> TileArray:
    return TileArray("halves", np.uint16, lambda s: (s.elements,))


def _replay(bits: int) -> tuple[KernelValues, ...]:
    """Programs for codes of 1 to 7 bits: those that are there."""
    packed = TileArray("packed", U8, lambda s: (s.elements // 8, bits))
    eight = TileArray("codes", U8, lambda s: (s.elements // 8, 8))
    floats = TileArray("y", F32, lambda s: (s.elements // 8, 8))
    cutting = functools.partial(narrow_and_pack, bits=bits)
    rounding = functools.partial(round_and_pack, bits=bits)
    found = [KernelValues(f"e9_unp{bits}", (packed,), (floats,), unpack, {"scale": F32})]
    if bits >= 6:
        found.append(KernelValues(f"e9_pck{bits}", (eight,), (packed,), cutting))
    if bits <= 6:
        found.append(KernelValues(f"e9_rnd{bits}", (eight,), (packed,), rounding))
    return tuple(found)


VALUES = (
    KernelValues(
        "e1_sgd",
        (_words("w"), _words("g"), _words("m")),
        (_words("w"), _words("m")),
        sgd,
        {"momentum": F32, "rate": F32, "decay": F32},
    ),
    KernelValues("e2_cvt", (_bytes("codes"),), (_words("y"),), dequantize, {"scale": F32}),
    KernelValues("e2_trick", (_bytes("codes"),), (_words("y"),), dequantize, {"scale": F32}),
    KernelValues("e3_fwd", (_words("x"),), (_bytes("mask"), _words("y")), relu),
    KernelValues("e3_bwd", (_words("dy"), _bytes("mask")), (_words("dx"),), masked),
    KernelValues("e10_relu6", (_words("x"),), (_bytes("mask"), _words("y")), relu6),
    KernelValues("h1_up", (_halves(),), (_words("y"),), halves_up),
    KernelValues("h1_down", (_words("x"),), (_halves(),), halves_down),
    *(kernel for bits in range(1, 8) for kernel in _replay(bits)),
)
