"""From floats to the integer stage: fidelity at every cut, damaged and extreme batch norms."""

import functools

import jax
import numpy as np
import pytest
from support import oracle

from qlrjax import weights
from qlrjax.integer import contract, extractor, fidelity, frozen, quantize, stagefile
from qlrjax.network import Cut, floating, mobilenet_v1
from qlrjax.streams import synthetic

CONVENTIONS = {
    "tensorflow": {"padding_convention": "tensorflow", "activation": "relu6"},
    "pytorch": {
        "padding_convention": "pytorch",
        "activation": "relu",
        "bn_epsilon": 1e-5,
        "pixels": ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)),
    },
}


@functools.cache
def images(hw=(32, 32), count=24):
    source = synthetic.source(4, 3, 2, hw)
    return source.read(np.arange(24))[:count]


@functools.cache
def network_of(convention="tensorflow", hw=(32, 32)):
    network = mobilenet_v1(0.25, hw, 5, **CONVENTIONS[convention])
    return network, weights.random(network, 9)


@functools.cache
def whole():
    """The stage of the last cut, pooling included: its layers are those of every other cut."""
    network, parameters = network_of()
    return quantize.quantize(Cut(network, network.last), parameters, images())


@functools.cache
def odd():
    """PyTorch's conventions, a picture of odd sides, cut before a layer of stride 2."""
    network, parameters = network_of("pytorch", (39, 47))
    return quantize.quantize(Cut(network, 7), parameters, images((39, 47)))


@functools.cache
def outputs():
    """Codes and float values of every output of `whole`, for all images."""
    network, parameters = network_of()
    cut = Cut(network, network.last)
    real = jax.jit(lambda batch: floating.infer(cut, parameters, batch))
    return jax.jit(frozen.trace)(whole().stage, images()), real(images())


def judge(rows, names):
    assert [row.layer for row in rows] == names
    for row in rows:
        assert row.cosine > 0.99, row
        assert row.snr_db > 15, row


@pytest.mark.slow
def test_every_layer_stays_close_to_its_float_layer():
    network, parameters = network_of()
    rows = fidelity.fidelity(Cut(network, network.last), parameters, whole(), images())
    judge(rows, [layer.name for layer in network.layers[:-1]] + ["pool"])


def test_other_conventions_and_odd_sides():
    network, parameters = network_of("pytorch", (39, 47))
    rows = fidelity.fidelity(Cut(network, 7), parameters, odd(), images((39, 47)))
    judge(rows, [layer.name for layer in network.layers[:7]])


@pytest.mark.slow
def test_codes_are_the_oracles_and_stand_for_the_float_values():
    """The built stage against int64 NumPy, bit for bit, and against the float outputs."""
    network, _ = network_of()
    expected = oracle.trace(whole().stage, images()[:2])
    names = [layer.name for layer in network.layers]  # the last one stands for the pooling
    rows = zip(names, expected, *outputs(), whole().ranges, strict=True)
    for name, reference, codes, real, top in rows:
        np.testing.assert_array_equal(np.asarray(codes)[:2], reference, name)
        value, real = np.asarray(codes) * (top / 255), np.asarray(real, np.float64)
        assert value.shape == real.shape
        cosine = (value * real).sum() / np.linalg.norm(value) / np.linalg.norm(real)
        assert cosine > 0.99, name
        # The calibration maximum is at the codes' upper end.
        assert 235 <= int(codes.max()) <= 255


@pytest.mark.slow
@pytest.mark.parametrize("latent_layer", [0, 1, 12])
def test_cuts(latent_layer):
    """A cut's stage is the first layers of the whole one; its range is its last layer's."""
    network, parameters = network_of()
    cut = Cut(network, latent_layer)
    made = quantize.quantize(cut, parameters, images())
    full = whole()
    assert len(made.stage) == latent_layer + (latent_layer == network.last)
    contract.check_stage(made.stage, in_shape=(32, 32, 3))
    if latent_layer == 0:
        assert made.latent_max == 255.0
        return
    np.testing.assert_allclose(made.ranges, full.ranges[: len(made.ranges)], rtol=1e-5)
    for mine, other in zip(made.stage, full.stage, strict=False):
        np.testing.assert_array_equal(mine.weight, other.weight)
        ours, theirs = np.asarray(mine.kappa, float), np.asarray(other.kappa, float)
        np.testing.assert_allclose(ours / 2.0**mine.shift, theirs / 2.0**other.shift, rtol=1e-4)
    one = extractor.Extractor(cut, made, None)
    assert one(images()[:2]).shape[1:] == cut.latent_shape


def changed(layer, **values):
    network, parameters = network_of()
    own = {key: value.copy() for key, value in parameters[layer].items()}
    for key, (channel, value) in values.items():
        own[key][..., channel] = value
    return network, {**parameters, layer: own}


@pytest.mark.parametrize(
    "damage",
    [
        {"variance": (3, 1e-35), "weight": (3, 0.0), "mean": (3, 0.0)},  # dead, as published
        {"weight": (slice(None), 0.0)},  # a layer that gives its bias only
        {"gamma": (2, 0.0)},
        {"beta": (1, 50.0)},  # always at ReLU6's top
        {"beta": (1, -50.0)},  # always 0
        {"gamma": (4, 300.0)},  # saturates on most inputs
        {"beta": (slice(None), -50.0)},  # a layer that is all 0: no range at all
    ],
)
@pytest.mark.parametrize("layer", ["conv1", "conv2_1/dw", "conv2_1/sep"])
def test_dead_and_saturating_channels(layer, damage):
    """They cost the others nothing: the rest is as close to the floats as before."""
    network, parameters = changed(layer, **damage)
    cut = Cut(network, 3)
    made = quantize.quantize(cut, parameters, images())
    for row in fidelity.fidelity(cut, parameters, made, images()):
        silent = (row.cosine, row.snr_db) == (0.0, 0.0)  # no signal and no noise either
        assert row.cosine > 0.99 or silent, row


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(bad):
    network, parameters = changed("conv2_1/sep", weight=(0, bad))
    with pytest.raises(ValueError, match="weight of layer conv2_1/sep holds NaN or infinity"):
        quantize.quantize(Cut(network, 4), parameters, images())


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((0, 32, 32, 3), np.uint8), np.zeros((2, 31, 32, 3), np.uint8)],
)
def test_images_that_do_not_fit_are_named(wrong):
    network, parameters = network_of()
    with pytest.raises(ValueError, match="at least one uint8 image of shape"):
        quantize.quantize(Cut(network, 2), parameters, wrong)


def test_an_accumulator_that_could_overflow_is_refused():
    """2**31 / (255 * 127) taps: no MobileNet has them, so a pool over a huge image stands in."""
    layer = whole().stage[-1]
    with pytest.raises(contract.ContractViolation):
        contract.check_layer(layer, "pool", window=2**31 // 255 + 1)


def test_a_stage_file_gives_the_same_stage_back(tmp_path):
    network, _ = network_of("pytorch", (39, 47))
    made = odd()
    one = extractor.Extractor(Cut(network, 7), made, None)
    path = tmp_path / "frozen.npz"
    path.write_bytes(stagefile.dump(one))
    other = stagefile.load(path, network.classes)
    assert other.cut == one.cut
    assert other.quantized.ranges == made.ranges
    np.testing.assert_array_equal(one(images((39, 47))[:3]), other(images((39, 47))[:3]))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read"):
        stagefile.load(path, 5)
