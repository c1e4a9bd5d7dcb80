"""One contract: the programs that are timed give the library's bits, on the stage that runs."""

import jax.numpy as jnp
import numpy as np
import pytest
from pulpsim.event import layers
from pulpsim.kernels import KERNELS, find
from support.programs import carried_out

from qlrjax import weights
from qlrjax.export.firmware.tables import is_short
from qlrjax.integer import contract, fixedpoint, quantize
from qlrjax.network import Cut
from qlrjax.streams import builtin

CHANNELS = 4


@pytest.fixture(scope="module")
def calibrated():
    """All layers of the built-in network, pooling included, on its calibration images."""
    network, parameters = weights.load("builtin", 10, 128)
    images = builtin.source((128, 128)).read(np.arange(0, 400, 50))
    return network, quantize.quantize(Cut(network, network.last), parameters, images).stage


def oracle(acc, kappa, lam, shift):
    """The contract in Python's own integers."""
    value = acc.astype(object) * kappa.astype(object) + lam.astype(object)
    return np.clip(value >> int(shift), 0, 255).astype(np.uint8)


def widest(layer, window):
    """Output channels whose products get largest, and some others; a multiple of four."""
    reach = contract.accumulator_bound(layer, window) * np.abs(np.asarray(layer.kappa, np.int64))
    order = np.argsort(reach)
    return np.sort(np.concatenate([order[-CHANNELS // 2 :], order[: CHANNELS // 2]]))


def extremes(weight, seed):
    """Inputs [2 n + 2, taps] that drive each channel as high and as low as it goes; random ones."""
    high = np.where(weight > 0, 255, 0)
    rng = np.random.default_rng(seed)
    mixed = rng.integers(0, 256, (2, weight.shape[1]))
    return np.concatenate([high, 255 - high, mixed]).astype(np.uint8)


def pointwise(layer, chosen, seed):
    weight = np.asarray(layer.weight)[:, chosen].T
    x = extremes(weight, seed)
    acc = x.astype(np.int64) @ weight.astype(np.int64).T
    shape = f"{CHANNELS}x{weight.shape[1]}x{len(x)}"
    return "i1w_4x2", shape, {"w": weight, "x": x}, acc


def depthwise(layer, chosen, seed):
    """Planes whose windows follow each other with nothing between."""
    weight = np.asarray(layer.weight)[:, :, chosen].transpose(2, 0, 1)
    stride = layer.stride
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (CHANNELS, 7, 9)).astype(np.uint8)
    for channel in range(CHANNELS):  # the first windows of its own plane
        high = np.where(weight[channel] > 0, 255, 0)
        x[channel, :3, :3], x[channel, 4:, 4:7] = high, 255 - high
    rows, columns = (7 - 3) // stride + 1, (9 - 3) // stride + 1
    acc = np.zeros((CHANNELS, rows, columns), np.int64)
    for row in range(3):
        for column in range(3):
            window = x[:, row::stride, column::stride][:, :rows, :columns].astype(np.int64)
            acc += window * weight[:, row, column, None, None]
    padded = np.zeros((CHANNELS, 3, 4), np.int8)
    padded[:, :, :3] = weight
    name = {1: "i2w_dw", 2: "i2sw_dw"}[stride]
    return name, f"C{CHANNELS}_7x9", {"x": x, "w": padded}, acc


def convolution(layer, chosen, seed):
    weight = np.asarray(layer.weight)[..., chosen].reshape(27, -1).T
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (5, 17, 3)).astype(np.uint8)
    for place in range(4):
        high = np.where(weight[place] > 0, 255, 0).reshape(3, 3, 3)
        image[:3, 4 * place : 4 * place + 3] = high if place % 2 else 255 - high
    views = [image[i : i + 3 : 2, j : j + 15 : 2] for i in range(3) for j in range(3)]
    patches = np.concatenate(views, axis=-1).astype(np.int64)
    acc = patches @ weight.astype(np.int64).T
    padded = np.zeros((CHANNELS, 28), np.int8)
    padded[:, :27] = weight
    return "i3w_conv", f"N{CHANNELS}_5x17", {"w": padded, "x": image}, acc


def pool(layer, chosen, seed):
    x = np.random.default_rng(seed).integers(0, 256, (CHANNELS, 16)).astype(np.uint8)
    x[0], x[1] = 255, 0
    return "i4w_pool", f"C{CHANNELS}_HW16", {"x": x}, x.astype(np.int64).sum(axis=1)


BUILD = {"pointwise": pointwise, "depthwise": depthwise, "conv": convolution, "pool": pool}


def channels_last(kind):
    return kind in ("pointwise", "conv", "pool")


@pytest.mark.long
def test_timed_programs_give_the_bits_of_the_calibrated_stage(calibrated):
    network, stage = calibrated
    assert len(stage) == network.last + 1
    differs, beyond = 0, 0
    for index, layer in enumerate(stage):
        assert is_short(layer) or layer.kind == "pool", index  # what the wide programs need
        assert layer.bits == 8
        assert layer.shift >= 1
        chosen = widest(layer, 16)
        name, shape, inputs, acc = BUILD[layer.kind](layer, chosen, index)
        scale = {"kappa": np.asarray(layer.kappa)[chosen], "lam": np.asarray(layer.lam)[chosen]}
        last = channels_last(layer.kind)
        kappa, lam = (one if last else one[:, None, None] for one in scale.values())
        expected = oracle(acc, kappa, lam, layer.shift)
        # The oracle is the library's.
        words = [jnp.asarray(one, jnp.int32) for one in np.broadcast_arrays(acc, kappa, lam)]
        library = fixedpoint.requantize(words[0], words[1], words[2], layer.shift)
        np.testing.assert_array_equal(np.asarray(library), expected)
        given, like = {**inputs, **scale}, {"y": expected}
        found = carried_out(name, shape, 2, given, like, {"shift": layer.shift})["y"]
        np.testing.assert_array_equal(found, expected, err_msg=f"layer {index}: {name}")
        narrow = carried_out(name.replace("w_", "_"), shape, 2, given, like, {"shift": layer.shift})
        differs += not np.array_equal(narrow["y"], expected)
        beyond += bool(
            np.abs(acc * np.broadcast_to(kappa, acc.shape).astype(object)).max() >= 2**31
        )
    # Why 32 bits will not do: nearly every layer leaves them.
    assert beyond >= 26
    assert differs >= 20


def test_narrowing_programs_give_the_codes_of_the_library():
    codes = np.arange(256, dtype=np.uint8)
    whole = jnp.asarray(codes)
    for bits in range(1, 8):
        name = "e9_pck7" if bits == 7 else f"e9_rnd{bits}"
        small = fixedpoint.narrow(whole, bits)
        expected = np.asarray(fixedpoint.pack(small, bits))
        for cores in (1, 3, 8):
            found = carried_out(name, "n256", cores, {"codes": codes}, {"packed": expected})
            np.testing.assert_array_equal(found["packed"], expected)
        # Back as floats, as the replays are read.
        floats = np.zeros(256, np.float32)
        found = carried_out(f"e9_unp{bits}", "n256", 8, {"packed": expected}, {"y": floats})["y"]
        np.testing.assert_allclose(found, np.asarray(small) * np.float32(0.0123), atol=1e-6)


def test_the_event_costs_those_programs():
    assert layers.latent_write(64, 8, "l2").kernels == ()
    for bits in range(1, 8):
        written = layers.latent_write(64, bits, "l2").kernels
        read = layers.replay_read(64, bits, "l2").kernels
        assert written == (("e9_pck7",) if bits == 7 else (f"e9_rnd{bits}",))
        assert read == (f"e9_unp{bits}",)
    costed = {"i1w_4x2", "i2w_dw", "i2sw_dw", "i3w_conv", "i4w_pool", "e9_unp3", "e9_rnd6"}
    assert not any(find(name).measured for name in costed)
    assert costed < set(KERNELS)
