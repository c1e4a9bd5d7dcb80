"""The C kernel of the frozen stage against the NumPy oracle and pure JAX, whatever it runs on."""

import ctypes
import subprocess
from pathlib import Path

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from support import cases, oracle

from qlrjax import weights
from qlrjax.integer import frozen, native, quantize
from qlrjax.integer.contract import ContractViolation, accumulator_bound, check_stage
from qlrjax.integer.extractor import Extractor
from qlrjax.integer.native import LIBRARY, call, pack
from qlrjax.native import build, description, load
from qlrjax.network import Cut, mobilenet_v1
from qlrjax.streams import builtin

KINDS = ["conv", "depthwise", "pointwise", "linear", "pool"]
BY_HAND = "AVX-512 VNNI by hand"
SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.fixture(scope="session")
def by_hand(tmp_path_factory):
    """The kernel with AVX-512 VNNI in plain C, registered under a name of its own."""
    out = tmp_path_factory.mktemp("native") / "by_hand.so"
    sources, shared = (Path(module.__file__).parent / "sources" for module in (call, build))
    subprocess.run(
        [
            "cc",
            "-std=gnu11",
            "-O2",
            "-fPIC",
            "-shared",
            "-pthread",
            f"-I{shared}",
            f"-I{jax.ffi.include_dir()}",
            "-include",
            str(SUPPORT / "vnni_by_hand.h"),
            str(sources / "stage.c"),
            "-o",
            str(out),
        ],
        check=True,
    )
    loaded = ctypes.CDLL(str(out))
    assert loaded.qlrjax_instructions() == pack.AVX512_VNNI
    capsule = jax.ffi.pycapsule(loaded.qlrjax_frozen_stage)
    jax.ffi.register_ffi_target("frozen_stage_by_hand", capsule, platform="cpu")
    return "frozen_stage_by_hand"


def ways():
    """Instruction sets that can be tested here, widest last."""
    kernel = load(LIBRARY)
    if kernel is None:
        pytest.skip(description(LIBRARY))
    return [pack.PLAIN, pack.AVX2, pack.AVX512_VNNI][: kernel.instructions + 1]


def has_avx2():
    return max(ways()) >= pack.AVX2


def run(stage, images, instructions):
    prepared = native.prepare(stage, instructions)
    return np.asarray(native.apply(prepared, jnp.asarray(images)))


def run_by_hand(target, stage, images):
    constants = jnp.asarray(pack.pack(stage, pack.AVX512_VNNI))
    height, width, channels = check_stage(stage, images.shape[1:])[-1]
    latents = jax.ShapeDtypeStruct((len(images), height, width, channels), jnp.uint8)
    return np.asarray(jax.ffi.ffi_call(target, latents)(jnp.asarray(images), constants))


side = st.integers(0, 2)
chains = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(KINDS),
            "c_out": st.sampled_from([1, 7, 16, 33, 48]),
            "kernel": st.tuples(st.integers(1, 4), st.integers(1, 4)),
            "stride": st.integers(1, 3),
            "padding": st.tuples(st.tuples(side, side), st.tuples(side, side)),
            "shift": st.integers(0, 31),
            "bits": st.integers(1, 8),
            "extreme": st.booleans(),
        }
    ),
    min_size=1,
    max_size=4,
)
shapes = st.tuples(
    st.integers(1, 5), st.integers(3, 11), st.integers(3, 11), st.sampled_from([1, 3, 4, 5, 17])
)


@settings(max_examples=40)
@given(chains, st.integers(0, 2**32 - 1), st.booleans(), shapes)
def test_random_stages_are_bit_equal(by_hand, chain, seed, extreme, shape):
    random = np.random.default_rng(seed)
    images = cases.random_images(random, shape, extreme)
    stage, channels = (), shape[-1]
    for spec in chain:
        layer = cases.random_layer(random, c_in=channels, **spec)
        try:
            channels = check_stage((*stage, layer), shape[1:])[-1][-1]
        except ContractViolation:  # the image got smaller than the kernel
            continue
        stage = (*stage, layer)
    if not stage:
        return
    expected = oracle.apply(stage, images)
    for instructions in ways():
        np.testing.assert_array_equal(run(stage, images, instructions), expected)
    if has_avx2():
        np.testing.assert_array_equal(run_by_hand(by_hand, stage, images), expected)


@pytest.mark.parametrize("sign", [-1, 1])
def test_accumulators_at_the_edge_of_int32(by_hand, sign):
    channels = 65_792 if sign < 0 else 66_310
    weight = np.full((channels, 1), -128 if sign < 0 else 127, np.int8)
    layer = frozen.IntegerLayer(
        jnp.asarray(weight),
        jnp.asarray([sign], jnp.int32),
        jnp.zeros(1, jnp.int32),
        jnp.zeros(channels, jnp.uint8),
        "pointwise",
        shift=23,
    )
    images = np.full((1, 1, 1, channels), 255, np.uint8)
    assert 2**31 - 2**17 < accumulator_bound(layer)[0] < 2**31
    expected = oracle.apply_layer(layer, images)
    for instructions in ways():
        np.testing.assert_array_equal(run((layer,), images, instructions), expected)
    if has_avx2():
        np.testing.assert_array_equal(run_by_hand(by_hand, (layer,), images), expected)


@pytest.mark.parametrize("words", [(-(2**31), 2**31 - 1), (2**31 - 1, -(2**31)), (-1, 0)])
@pytest.mark.parametrize("shift", [0, 1, 30, 31])
def test_extreme_requantization(by_hand, words, shift):
    """kappa * acc + lam far outside of int32, where the narrow path would wrap."""
    random = np.random.default_rng(shift)
    kappa, lam = (np.full(20, word, np.int32) for word in words)
    weight = random.choice(np.array([-128, 127], np.int8), (24, 20))
    layer = frozen.IntegerLayer(
        jnp.asarray(weight),
        jnp.asarray(kappa),
        jnp.asarray(lam),
        jnp.zeros(24, jnp.uint8),
        "pointwise",
        shift=shift,
    )
    images = cases.random_images(random, (2, 3, 5, 24), True)
    expected = oracle.apply_layer(layer, images)
    for instructions in ways():
        np.testing.assert_array_equal(run((layer,), images, instructions), expected)
    if has_avx2():
        np.testing.assert_array_equal(run_by_hand(by_hand, (layer,), images), expected)


@given(st.integers(0, 2**32 - 1), st.sampled_from([[-128, 127], [-128, -1, 0, 1, 127], None]))
def test_no_pair_of_split_weights_saturates(seed, values):
    random = np.random.default_rng(seed)
    choices = np.arange(-128, 128) if values is None else np.array(values)
    weight = random.choice(choices, (2, 3, 16, 4)).astype(np.int8)
    parts = pack.split(weight)
    total = parts.kept.astype(int)
    for half, place, extra in zip(
        np.repeat(np.arange(4), parts.counts), parts.places, parts.extra.astype(int), strict=True
    ):
        panel, first = divmod(half, 2)
        total[panel, place // 4, 8 * first : 8 * first + 8] += extra
    np.testing.assert_array_equal(total, weight)
    for group in (parts.kept, parts.extra):
        pairs = group.reshape(-1, 2).astype(int)
        assert 255 * np.maximum(pairs, 0).sum(axis=1).max(initial=0) < 2**15
        assert 255 * np.minimum(pairs, 0).sum(axis=1).min(initial=0) >= -(2**15)


@pytest.fixture(scope="module")
def calibrated():
    network, parameters = weights.load("builtin", 10, 128)
    images = builtin.source((128, 128)).read(np.arange(0, 400, 50))
    return network, quantize.quantize(Cut(network, network.last), parameters, images), images


def test_calibrated_stage_is_bit_equal_at_every_cut(calibrated, by_hand):
    network, quantized, images = calibrated
    traced = jax.jit(frozen.trace)(quantized.stage, jnp.asarray(images))
    assert len(traced) == network.last + 1 == 28
    for cut, expected in enumerate(traced, start=1):
        got = run(quantized.stage[:cut], images, max(ways()))
        np.testing.assert_array_equal(got, expected)
    for instructions in ways():
        np.testing.assert_array_equal(run(quantized.stage, images, instructions), traced[-1])
    if has_avx2():
        np.testing.assert_array_equal(run_by_hand(by_hand, quantized.stage, images), traced[-1])


@pytest.mark.parametrize("batch", [0, 1, 2, 3, 5, 9])
def test_every_batch_gives_what_single_images_give(batch):
    """Small batches are cut within layers, large ones between images."""
    random = np.random.default_rng(batch)
    network = mobilenet_v1(0.25, (47, 33))
    stage = cases.random_stage(network, network.last, random)
    images = cases.random_images(random, (batch, 47, 33, 3))
    got = run(stage, images, max(ways()))
    assert got.shape == (batch, *network.latent_shape(network.last))
    if batch:
        np.testing.assert_array_equal(got, oracle.apply(stage, images))


def test_calls_from_many_threads_do_not_meet(calibrated):
    _, quantized, images = calibrated
    prepared = native.prepare(quantized.stage)
    if prepared is None:
        pytest.skip(description(LIBRARY))
    expected = np.asarray(native.apply(prepared, jnp.asarray(images)))
    pending = [native.apply(prepared, jnp.asarray(images[i % 8 :])) for i in range(24)]
    for index, got in enumerate(pending):
        np.testing.assert_array_equal(got, expected[index % 8 :])


def test_extractor_gives_the_same_codes_either_way(calibrated, monkeypatch):
    network, quantized, images = calibrated
    fast = Extractor(Cut(network, network.last), quantized, None)
    assert (fast._native is not None) == (load(LIBRARY) is not None)
    monkeypatch.setenv(LIBRARY.variable, "jax")
    slow = Extractor(Cut(network, network.last), quantized, None)
    assert slow._native is None
    np.testing.assert_array_equal(fast(images[:5]), slow(images[:5]))


def test_no_float_and_one_call():
    random = np.random.default_rng(0)
    network = mobilenet_v1(0.25, (45, 34))
    prepared = native.prepare(cases.random_stage(network, network.last, random))
    if prepared is None:
        pytest.skip(description(LIBRARY))
    jaxpr = jax.make_jaxpr(lambda x: call.apply(prepared, x))(jnp.zeros((1, 45, 34, 3), jnp.uint8))
    (outer,) = jaxpr.jaxpr.eqns
    (inner,) = outer.params["jaxpr"].jaxpr.eqns
    assert inner.primitive.name == "ffi_call"
    assert {str(v.aval.dtype) for v in (*inner.invars, *inner.outvars)} == {"uint8"}


def test_wrong_images_and_foreign_constants_are_refused():
    random = np.random.default_rng(0)
    stage = (cases.random_layer(random, "pointwise", 4, 4),)
    prepared = native.prepare(stage)
    if prepared is None:
        pytest.skip(description(LIBRARY))
    with pytest.raises(Exception, match="the images have other channels"):
        native.apply(prepared, jnp.zeros((1, 2, 2, 5), jnp.uint8)).block_until_ready()
    foreign = prepared.replace(constants=jnp.zeros(256, jnp.uint8))
    with pytest.raises(Exception, match="are not those of this version"):
        native.apply(foreign, jnp.zeros((1, 2, 2, 4), jnp.uint8)).block_until_ready()


def test_a_window_too_large_for_the_kernel_stays_with_jax():
    layer = cases.random_layer(np.random.default_rng(0), "depthwise", 3, 3, kernel=(17, 16))
    assert not pack.fits((layer,))
    assert native.prepare((layer,)) is None
