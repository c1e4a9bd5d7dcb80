"""The C kernels of training: every set of instructions, any number of threads."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import oracle_float as oracle
from support.near import trees_close

from qlrjax import session
from qlrjax.native import Unavailable, build, description, load
from qlrjax.network import Cut, Layer, mobilenet_v1
from qlrjax.runs import fingerprint
from qlrjax.settings import Settings, StreamSettings
from qlrjax.training import kernels
from qlrjax.training.kernels import call
from qlrjax.training.protocol import Protocol

SETS = ("PLAIN", "AVX2", "AVX512")

pytestmark = pytest.mark.skipif(
    load(kernels.LIBRARY) is None, reason=f"needs the C kernels: {description(kernels.LIBRARY)}"
)


NAMES = ("_FORWARD", "_OF_INPUT", "_OF_ROWS", "_CHAIN", "_MOMENTS", "_RENORM")


@pytest.fixture(scope="session", params=SETS)
def targets(request, tmp_path_factory):
    """The kernels with no wider instructions than these, under names of their own."""
    widest = SETS.index(request.param)
    if widest > load(kernels.LIBRARY).instructions:
        pytest.skip(f"this processor has no {kernels.LIBRARY.instructions[widest]}")
    out = tmp_path_factory.mktemp("narrowed") / "training.so"
    sources, shared = (Path(module.__file__).parent / "sources" for module in (call, build))
    included = [f"-I{shared}", f"-I{jax.ffi.include_dir()}", f"-DWIDEST={request.param}"]
    words = ["cc", *build._FLAGS, *included, "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*words, str(sources / "training.c"), "-o", str(out)], check=True)
    loaded = ctypes.CDLL(str(out))
    assert loaded.qlrjax_instructions() == widest
    own = {}
    for name in NAMES:
        target = getattr(call, name)
        own[name] = f"{target}_{request.param}"
        capsule = jax.ffi.pycapsule(getattr(loaded, target))
        jax.ffi.register_ffi_target(own[name], capsule, platform="cpu")
    return own


@pytest.fixture
def narrowed(targets, monkeypatch):
    """`kernels` calls those."""
    for name, target in targets.items():
        monkeypatch.setattr(call, name, target)


def layer_of(channels, kernel, stride, padding, in_hw):
    out = [
        (size + sum(pad) - side) // stride + 1
        for size, pad, side in zip(in_hw, padding, kernel, strict=True)
    ]
    return Layer(
        0, "any", "depthwise", channels, channels, in_hw, tuple(out), kernel, stride, padding
    )


LAYERS = [
    layer_of(17, (3, 3), 1, ((1, 1), (1, 1)), (5, 7)),
    layer_of(64, (5, 5), 2, ((1, 2), (2, 2)), (9, 6)),
    layer_of(3, (7, 7), 3, ((3, 3), (3, 0)), (8, 11)),
    layer_of(33, (1, 2), 2, ((0, 0), (0, 1)), (4, 4)),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda one: f"{one.kernel_hw} by {one.stride}")
def test_depthwise_is_exact_on_integers(narrowed, layer):
    random = np.random.default_rng(0)
    weight, x, dy = (
        random.integers(-9, 10, shape).astype(np.float32)
        for shape in (layer.weight_shape, (6, *layer.in_shape), (6, *layer.out_shape))
    )
    rows = jnp.asarray(weight.reshape(-1, layer.out_channels))
    y, pull = jax.vjp(lambda rows, x: kernels.depthwise(layer, rows, x), rows, jnp.asarray(x))
    np.testing.assert_array_equal(y, oracle.linear(layer, weight, x))
    of_rows, of_x = pull(jnp.asarray(dy))
    of_weight, wanted = oracle.linear_gradients(layer, weight, x, dy)
    np.testing.assert_array_equal(of_rows.reshape(weight.shape), of_weight)
    np.testing.assert_array_equal(of_x, wanted)


@pytest.mark.parametrize("channels", [1, 16, 37])
@pytest.mark.parametrize("missing", [0, 3])
def test_moments_of_a_map_far_from_zero(narrowed, channels, missing):
    """A mean of 1,000 and a deviation of 0.1: squares minus a square would keep no digit."""
    random = np.random.default_rng(1)
    y = random.normal(1000.0, 0.1, (9, 3, 5, channels)).astype(np.float32)
    y[9 - missing :] = np.nan
    there = np.arange(9) < 9 - missing
    mean, variance = kernels.moments(jnp.asarray(y), jnp.asarray(there))
    counted = y[there].astype(np.float64)
    np.testing.assert_allclose(mean, counted.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(variance, counted.var(axis=(0, 1, 2)), rtol=2e-3)


INSIDE = {
    "none": np.isfinite,
    "relu": lambda x: x > 0,
    "relu6": lambda x: (x > 0) & (x < 6),
}


def mixed(channels, activation):
    """What may be done to a raw output, and 1 / std^2."""
    random = np.random.default_rng(3)
    by_channel = [random.normal(0, 1, channels).astype(np.float32) for _ in range(3)]
    steep = random.uniform(0.1, 1.0, channels).astype(np.float32)
    return kernels.Affine(*map(jnp.asarray, by_channel), activation), jnp.asarray(steep)


def before_activation(y, affine):
    mean, gain, offset = (
        np.asarray(one, np.float64) for one in (affine.mean, affine.gain, affine.offset)
    )
    return (y - mean) * gain + offset


def renorm_gradient(y, g, there, affine, steep):
    """In float64: the gradient of y and both sums."""
    y, g, steep, mean, gain = (
        np.asarray(one, np.float64) for one in (y, g, steep, affine.mean, affine.gain)
    )
    g = g * INSIDE[affine.activation](before_activation(y, affine))
    away = y - mean
    sums, products = g.sum(axis=(0, 1, 2)), (g * away).sum(axis=(0, 1, 2))
    share = there[:, None, None, None] / (there.sum() * y.shape[1] * y.shape[2])
    return (g - (sums + away * products * steep) * share) * gain, sums, products


@pytest.mark.parametrize("activation", INSIDE)
def test_renorm_gradient_against_float64(narrowed, activation):
    random = np.random.default_rng(2)
    y, g = (random.normal(1.0, 2.0, (7, 5, 2, 21)).astype(np.float32) for _ in range(2))
    there = np.array([1, 1, 0, 1, 1, 1, 0], bool)
    after, steep = mixed(21, activation)
    found = kernels.renorm_backward(*map(jnp.asarray, (y, there, g)), after, steep)
    for got, wanted in zip(found, renorm_gradient(y, g, there, after, steep), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("activation", INSIDE)
@pytest.mark.parametrize("layer", LAYERS, ids=lambda one: f"{one.kernel_hw} by {one.stride}")
def test_a_normalised_layer_under_a_depthwise_one_against_float64(narrowed, layer, activation):
    random = np.random.default_rng(4)
    weight, y, dz = (
        random.normal(0.5, 2.0, shape).astype(np.float32)
        for shape in (layer.weight_shape, (6, *layer.in_shape), (6, *layer.out_shape))
    )
    there = np.array([1, 0, 1, 1, 1, 0], bool)
    below, steep = mixed(layer.in_channels, activation)
    rows = jnp.asarray(weight.reshape(-1, layer.out_channels))
    z = kernels.chain_forward(layer, rows, jnp.asarray(y), below)
    before = before_activation(y.astype(np.float64), below)
    ends = {"none": (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}[activation]
    x = before.clip(*ends)
    wanted_z = oracle.linear(layer, weight.astype(np.float64), x)
    np.testing.assert_allclose(z, wanted_z, rtol=1e-5, atol=1e-5 * np.abs(wanted_z).max())
    given = map(jnp.asarray, (y, there))
    found = kernels.chain_backward(layer, rows, tuple(given), jnp.asarray(dz), (below, steep))
    of_weight, of_x = oracle.linear_gradients(
        layer, weight.astype(np.float64), x, dz.astype(np.float64)
    )
    expected = (*renorm_gradient(y, of_x, there, below, steep), of_weight.reshape(rows.shape))
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=2e-5 * np.abs(wanted).max())


THREADS = """
import hashlib, os, sys
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[1])])
import numpy as np
import jax.numpy as jnp
from qlrjax import weights
from qlrjax.native import load
from qlrjax.network import Cut
from qlrjax.training import kernels
import jax
assert load(kernels.LIBRARY)
random = np.random.default_rng(0)
y, g = (jnp.asarray(random.normal(size=(13, 6, 5, 40)).astype(np.float32)) for _ in range(2))
there = jnp.ones(13, bool)
layer = Cut(weights.load("builtin", 10, 96)[0], 24).above[0]
x = jnp.asarray(random.normal(size=(13, *layer.in_shape)).astype(np.float32))
rows = jnp.asarray(random.normal(size=(9, layer.out_channels)).astype(np.float32))
out, pull = jax.vjp(lambda rows, x: kernels.depthwise(layer, rows, x), rows, x)
*three, steep = (jnp.asarray(random.normal(size=40).astype(np.float32)) for _ in range(4))
after = kernels.Affine(*three, "relu6")
gradients = kernels.renorm_backward(y, there, g, after, steep)
wide = layer.out_channels
*three, steep = (jnp.asarray(random.normal(size=wide).astype(np.float32)) for _ in range(4))
below = kernels.Affine(*three, "relu6"), steep
chain = kernels.chain_backward(layer, rows, (x, there), out, below)
found = (*kernels.moments(y, there), *gradients, *pull(out), *chain)
print(hashlib.sha256(b"".join(np.asarray(one).tobytes() for one in found)).hexdigest())
"""


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two cores, and a system that can take one away",
)
def test_the_number_of_threads_changes_no_bit():
    tests = Path(__file__).resolve().parents[1]
    found = {
        subprocess.run(
            [sys.executable, "-c", THREADS, count],
            env={**os.environ, "PYTHONPATH": str(tests)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for count in ("1", "2")
    }
    assert len(found) == 1


def test_they_serve_where_something_of_theirs_is_trained(monkeypatch):
    network = mobilenet_v1(0.25, (32, 32), 10)
    assert kernels.serve(Cut(network, 24))
    assert not kernels.serve(Cut(network, network.last))
    assert not kernels.fits(layer_of(4, (8, 8), 1, ((4, 4), (4, 4)), (9, 9)))
    monkeypatch.setenv(kernels.LIBRARY.variable, "jax")
    assert not kernels.serve(Cut(network, 24))


def test_who_asks_for_them_where_they_are_not_is_told_why(monkeypatch):
    monkeypatch.setenv(kernels.LIBRARY.variable, "jax")
    with pytest.raises(Unavailable, match="pure JAX: QLRJAX_TRAINING=jax"):
        kernels.moments(jnp.ones((1, 1, 1, 1)), jnp.ones(1, bool))


def test_no_latents_are_refused():
    with pytest.raises(Exception, match="a training step without latents"):
        jax.block_until_ready(kernels.moments(jnp.ones((0, 2, 2, 3)), jnp.ones(0, bool)))


def test_a_session_uses_them_and_keeps_its_integers(monkeypatch, tmp_path):
    """Three events with replays: the same codes and slots, parameters within rounding."""
    monkeypatch.setenv("QLRJAX_CACHE", str(tmp_path))
    settings = Settings(
        latent_layer=24,
        weights="random:1:0.25",
        resolution=32,
        replays=12,
        bits=7,
        calibration_images=12,
        stream=StreamSettings(data="synthetic:3x4x6"),
        protocol=Protocol(minibatch=8, epochs=2, first_epochs=2),
    )
    ends = {}
    for way in ("jax", "auto"):
        monkeypatch.setenv(kernels.LIBRARY.variable, way)
        prepared = session.prepare(settings)
        assert prepared.learner.native == (way == "auto")
        assert fingerprint.take()["training"] == ("pure JAX" if way == "jax" else "C kernels")
        state = session.start(prepared)
        for _ in range(3):
            state, _ = session.learn_next(prepared, state)
        ends[way] = state.learner
    memories = [end.memory for end in ends.values()]
    for one, other in zip(*map(jax.tree.leaves, memories), strict=True):
        np.testing.assert_array_equal(one, other)
    params = [end.training.params for end in ends.values()]
    trees_close(*params, 1e-4)
    assert any(  # or the kernels were not called
        (np.asarray(one) != np.asarray(other)).any()
        for one, other in zip(*map(jax.tree.leaves, params), strict=True)
    )
