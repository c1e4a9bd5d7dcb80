"""Requantization and packing against Python's own integers."""

from fractions import Fraction

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from support import oracle

from qlrjax.integer import fixedpoint

INT32 = np.iinfo(np.int32)
PACK = jax.jit(fixedpoint.pack, static_argnums=1)
UNPACK = jax.jit(fixedpoint.unpack, static_argnums=(1, 2))
EDGES = np.array(
    [INT32.min, INT32.min + 1, -(2**16), -256, -1, 0, 1, 255, 2**16 - 1, INT32.max - 1, INT32.max],
    np.int32,
)
# One compiled function for every case: the shift is an index into the 32 static branches.
BRANCHES = [
    jax.jit(
        lambda acc, kappa, lam, s=s: fixedpoint.shift_clip(
            *fixedpoint.multiply_add(acc, kappa, lam), s, 8
        )
    )
    for s in range(32)
]


def reference(acc, kappa, lam, shift, bits=8):
    value = acc.astype(object) * kappa.astype(object) + lam.astype(object)
    return np.array([min(max(int(v) >> shift, 0), 2**bits - 1) for v in value.ravel()], np.uint8)


@pytest.mark.parametrize("shift", range(32))
def test_requantize_all_edges(shift):
    grid = np.stack(np.meshgrid(EDGES, EDGES, EDGES, indexing="ij")).reshape(3, -1)
    got = BRANCHES[shift](*(jnp.asarray(row) for row in grid))
    np.testing.assert_array_equal(got, reference(*grid, shift))


@pytest.mark.parametrize("shift", [0, 1, 7, 16, 24, 30, 31])
def test_requantize_whole_int32_range(shift):
    """Random words of every magnitude, 20,000 a shift: small ones land inside the clip."""
    random = np.random.default_rng(shift)
    words = random.integers(INT32.min, INT32.max, (3, 20_000), np.int32, endpoint=True)
    words = words >> random.integers(0, 32, words.shape, np.int32)
    got = BRANCHES[shift](*(jnp.asarray(row) for row in words))
    expected = reference(*words, shift)
    assert np.unique(expected).size > 2
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("bits", range(1, 9))
def test_requantize_clips_to_the_width(bits):
    acc = np.arange(-300, 600, dtype=np.int32)
    kappa, lam = np.full_like(acc, 3), np.full_like(acc, -7)
    run = jax.jit(fixedpoint.requantize, static_argnums=(3, 4))
    got = run(jnp.asarray(acc), jnp.asarray(kappa), jnp.asarray(lam), 2, bits)
    np.testing.assert_array_equal(got, reference(acc, kappa, lam, 2, bits))


@given(
    hnp.arrays(np.int32, (64,)),
    hnp.arrays(np.int32, (64,)),
    hnp.arrays(np.int32, (64,)),
    st.integers(0, 31),
)
def test_requantize_property(acc, kappa, lam, shift):
    got = BRANCHES[shift](jnp.asarray(acc), jnp.asarray(kappa), jnp.asarray(lam))
    np.testing.assert_array_equal(got, reference(acc, kappa, lam, shift))


@given(hnp.arrays(np.int32, (64,)), hnp.arrays(np.int32, (64,)), hnp.arrays(np.int32, (64,)))
def test_multiply_add_is_exact_in_64_bits(acc, kappa, lam):
    high, low = jax.jit(fixedpoint.multiply_add)(
        jnp.asarray(acc), jnp.asarray(kappa), jnp.asarray(lam)
    )
    wide = np.asarray(high).astype(np.int64) * 2**32 + np.asarray(low).view(np.uint32)
    expected = kappa.astype(np.int64) * acc.astype(np.int64) + lam.astype(np.int64)
    np.testing.assert_array_equal(wide, expected)


@pytest.mark.parametrize("bits", range(1, 9))
def test_narrow_rounds_every_code(bits):
    codes = np.arange(256, dtype=np.uint8)
    expected = [round(Fraction(code * (2**bits - 1), 255)) for code in range(256)]
    np.testing.assert_array_equal(
        jax.jit(fixedpoint.narrow, static_argnums=1)(jnp.asarray(codes), bits), expected
    )


@pytest.mark.parametrize("bits", [0, 9, -1])
def test_width_out_of_range_is_refused(bits):
    with pytest.raises(ValueError, match="choose 1 to 8"):
        fixedpoint.packed_bytes(10, bits)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("elements", [1, 7, 64, 1025])
def test_pack_round_trip_and_layout(bits, elements):
    random = np.random.default_rng(bits * 10_000 + elements)
    codes = random.integers(0, 2**bits, (3, elements), np.uint8)
    packed = PACK(jnp.asarray(codes), bits)
    assert packed.shape == (3, fixedpoint.packed_bytes(elements, bits))
    np.testing.assert_array_equal(packed, [oracle.pack(row, bits) for row in codes])
    np.testing.assert_array_equal(UNPACK(packed, bits, elements), codes)
    assert fixedpoint.packed_bytes(elements, bits) == -(-elements * bits // 8)


@given(st.data(), st.integers(1, 8), st.sampled_from([24, 41]))
def test_pack_property(data, bits, elements):
    codes = data.draw(hnp.arrays(np.uint8, (elements,), elements=st.integers(0, 2**bits - 1)))
    packed = np.asarray(PACK(jnp.asarray(codes), bits))
    np.testing.assert_array_equal(packed, oracle.pack(codes, bits))
    np.testing.assert_array_equal(oracle.unpack(packed, bits, elements), codes)


def test_pack_drops_bits_above_the_width():
    codes = np.array([255, 1, 254], np.uint8)
    np.testing.assert_array_equal(PACK(jnp.asarray(codes), 3), oracle.pack(codes & 7, 3))
