"""Element by element: SGD, dequantize, ReLU, and replay codes packed and unpacked."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from pulpsim.cluster.l1 import Tile
from pulpsim.kernels.record import F32, U8, Kernel, Operand


def _n(tile: Tile) -> tuple[int, ...]:
    return (tile.items,)


def _groups(width: int, tile: Tile) -> tuple[int, ...]:
    return tile.items // 8, width


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


_F = [Operand(word, F32, _n) for word in range(3)]
_B = [Operand(word, U8, _n) for word in range(2)]


def _replay(bits: int) -> tuple[Kernel, Kernel]:
    narrow, wide = functools.partial(_groups, bits), functools.partial(_groups, 8)
    packing = functools.partial(narrow_and_pack, bits=bits)
    return (
        Kernel(
            f"e9_unp{bits}", (Operand(0, U8, narrow),), (Operand(2, F32, wide),), unpack, {3: F32}
        ),
        Kernel(f"e9_pck{bits}", (Operand(0, U8, wide),), (Operand(2, U8, narrow),), packing),
    )


KERNELS = (
    Kernel("e1_sgd", tuple(_F), (_F[0], _F[2]), sgd, {3: F32, 4: F32, 5: F32}),
    Kernel("e2_cvt", (_B[0],), (_F[2],), dequantize, {3: F32}),
    Kernel("e2_trick", (_B[0],), (_F[2],), dequantize, {3: F32}),
    Kernel("e3_fwd", (_F[0],), (_B[1], _F[2]), relu),
    Kernel("e3_bwd", (_F[0], _B[1]), (_F[2],), masked),
    Kernel("e10_relu6", (_F[0],), (_B[1], _F[2]), relu6),
    *_replay(7),
    *_replay(6),
)
