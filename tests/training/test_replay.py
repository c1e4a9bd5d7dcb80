"""The memory's bytes, codes and labels; admission as a property is in `test_properties`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import oracle

from qlrjax.training import replay

SHAPE = (3, 1, 5)  # 15 elements: no width but 8 ends on a byte


@pytest.mark.parametrize("elements", [1, 7, 15, 1024, 32768])
@pytest.mark.parametrize("bits", range(1, 9))
def test_a_latent_takes_what_the_device_would_hold(bits, elements):
    expected = (elements * bits + 7) // 8
    assert replay.latent_bytes(elements, bits) == expected
    memory = replay.init(3, (1, 1, elements), bits)
    assert memory.data.shape == (3, expected)
    assert memory.bytes == 3 * expected


def test_the_published_sizes():
    """3000 latents of 8x8x512: 98.3 MB at 8 bits, four times as much in FP32."""
    sizes = {bits: 3000 * replay.latent_bytes(8 * 8 * 512, bits) for bits in (6, 7, 8, 32)}
    assert sizes == {6: 73_728_000, 7: 86_016_000, 8: 98_304_000, 32: 393_216_000}


@pytest.mark.parametrize("bits", [0, -1, 9, 16, 33])
def test_impossible_widths_are_named(bits):
    with pytest.raises(ValueError, match=f"^{bits} bits a replay"):
        replay.init(1, SHAPE, bits)


def test_negative_slots_are_named():
    with pytest.raises(ValueError, match=r"^-1 replays"):
        replay.init(-1, SHAPE, 8)


@pytest.mark.parametrize("bits", [1, 4, 6, 7, 8, 32])
@pytest.mark.parametrize("integer", [True, False])
def test_what_is_read_is_within_half_a_step_and_keeps_its_label(bits, integer):
    random, latent_max = np.random.default_rng(bits), 3.7
    if integer:
        latents = random.integers(0, 256, (9, *SHAPE)).astype(np.uint8)
        real = latents.astype(np.float64) * latent_max / 255
    else:
        latents = random.uniform(0, latent_max, (9, *SHAPE)).astype(np.float32)
        real = latents.astype(np.float64)
    labels = np.arange(100, 109, dtype=np.int32)
    memory = replay.init(11, SHAPE, bits, latent_max)
    memory = replay.admit(
        memory,
        jax.random.key(0),
        jnp.asarray(latents),
        jnp.asarray(labels),
        jnp.ones(9, bool),
        jnp.asarray(6, jnp.int32),
    )
    stored = np.asarray(memory.labels)
    assert sorted(stored[:6]) == sorted(set(stored[:6]))
    np.testing.assert_array_equal(stored[6:], -1)
    read = np.asarray(replay.read(memory, jnp.arange(6, dtype=jnp.int32)), np.float64)
    expected = real[stored[:6] - 100]
    step = 0.0 if bits == 32 else latent_max / (2**bits - 1)
    assert np.abs(read - expected).max() <= step / 2 + 1e-6 * latent_max
    if bits == 32:
        assert memory.data.dtype == jnp.float32
    else:
        for row, value in zip(np.asarray(memory.data)[:6], read, strict=True):
            codes = oracle.unpack(row, bits, 15)
            np.testing.assert_allclose(codes * step, value.ravel(), rtol=1e-6)


@pytest.mark.parametrize("bits", [7, 32])
def test_no_slots_admit_nothing(bits):
    memory = replay.init(0, SHAPE, bits)
    after = replay.admit(
        memory,
        jax.random.key(0),
        jnp.zeros((4, *SHAPE), jnp.uint8),
        jnp.zeros(4, jnp.int32),
        jnp.ones(4, bool),
        jnp.asarray(4, jnp.int32),
    )
    assert after.slots == after.bytes == int(after.filled) == 0


@pytest.mark.parametrize(("count", "written"), [(0, 0), (3, 3), (5, 4), (99, 4)])
def test_more_than_the_valid_latents_is_cut_to_them(count, written):
    valid = jnp.asarray([True, False, True, True, False, True])
    memory = replay.admit(
        replay.init(8, SHAPE, 8),
        jax.random.key(5),
        jnp.zeros((6, *SHAPE), jnp.uint8),
        jnp.arange(6, dtype=jnp.int32),
        valid,
        jnp.asarray(count, jnp.int32),
    )
    labels = np.asarray(memory.labels)
    assert int(memory.filled) == written == (labels >= 0).sum()
    assert set(labels[labels >= 0]) <= {0, 2, 3, 5}


def test_class_counts():
    memory = replay.init(6, SHAPE, 8).replace(
        labels=jnp.asarray([2, 0, 2, 3, -1, -1], jnp.int32), filled=jnp.asarray(4, jnp.int32)
    )
    np.testing.assert_array_equal(replay.class_counts(memory, 5), [1, 0, 2, 1, 0])
