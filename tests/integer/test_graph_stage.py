"""Integer graphs against the NumPy int64 oracle and ONNX Runtime: adds, poolings, offsets."""

import functools
from types import SimpleNamespace

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from support import cases, oracle

from qlrjax import weights
from qlrjax.export import arrays
from qlrjax.integer import contract, deployed, fidelity, frozen, quantize
from qlrjax.integer.contract import ContractViolation
from qlrjax.integer.frozen import IMAGE, IntegerLayer
from qlrjax.network import IMAGES, Cut, ds_cnn, resnet8

words = st.one_of(st.integers(-(2**31), 2**31 - 1), st.sampled_from(cases.WORD_EDGES.tolist()))


def add_layer(kappa, kappa_b, lam, shift, bits=8, inputs=(0, IMAGE)):
    channels = len(np.atleast_1d(kappa))
    rows = [jnp.asarray(np.atleast_1d(v).astype(np.int32)) for v in (kappa, lam, kappa_b)]
    return IntegerLayer(
        weight=jnp.zeros((0,), jnp.int8),
        kappa=rows[0],
        lam=rows[1],
        kappa_b=rows[2],
        pad_value=jnp.zeros((channels,), jnp.uint8),
        kind="add",
        shift=shift,
        bits=bits,
        inputs=inputs,
    )


@given(words, words, words, st.integers(0, 31), st.integers(1, 8))
def test_an_add_is_exact_in_64_bits(kappa, kappa_b, lam, shift, bits):
    """All pairs of 256 x 256 codes against Python's own integers."""
    a, b = (
        np.arange(0, 256, 15, dtype=np.uint8)[axis].reshape(1, *shape, 1)
        for axis, shape in ((slice(None), (18, 1)), (slice(None), (1, 18)))
    )
    a, b = np.broadcast_to(a, (1, 18, 18, 1)), np.broadcast_to(b, (1, 18, 18, 1))
    layer = add_layer(kappa, kappa_b, lam, shift, bits)
    got = np.asarray(frozen.apply_layer(layer, jnp.asarray(a), jnp.asarray(b)))
    for x, y, z in zip(a.ravel().tolist(), b.ravel().tolist(), got.ravel().tolist(), strict=True):
        assert z == min(max((kappa * x + kappa_b * y + lam) >> shift, 0), 2**bits - 1)


window = st.tuples(st.integers(1, 4), st.integers(1, 3))
pads = st.tuples(st.integers(0, 2), st.integers(0, 2))


@settings(max_examples=25)
@given(
    st.sampled_from(["max_pool", "average_pool"]),
    window,
    st.integers(1, 3),
    st.tuples(pads, pads),
    st.integers(0, 2**32 - 1),
)
def test_poolings_of_any_window(kind, window, stride, padding, seed):
    random = np.random.default_rng(seed)
    shape = (2, int(random.integers(4, 9)), int(random.integers(3, 8)), 3)
    layer = pooling(kind, window, stride, padding, random)
    x = cases.random_images(random, shape, bool(seed % 2))
    try:
        contract.check_stage((layer,), shape[1:])
    except ContractViolation:
        return
    got = jax.jit(frozen.apply_layer)(layer, jnp.asarray(x))
    np.testing.assert_array_equal(got, oracle.apply_layer(layer, x))


def pooling(kind, window, stride, padding, random):
    kappa, lam = random.integers(1, 2**16, 3), random.integers(0, 2**20, 3)
    pad = np.zeros(3) if kind == "max_pool" else random.integers(0, 256, 3)
    return IntegerLayer(
        weight=jnp.zeros((0,), jnp.int8),
        kappa=jnp.asarray(kappa.astype(np.int32)),
        lam=jnp.asarray(lam.astype(np.int32)),
        pad_value=jnp.asarray(pad.astype(np.uint8)),
        kind=kind,
        stride=stride,
        padding=padding,
        shift=14,
        window=window,
    )


@functools.cache
def quantized(name, hw):
    """A whole network of random weights, as integers, with images of its own size."""
    network, parameters = weights.load(name, 5, hw)
    random = np.random.default_rng(7)
    images = random.integers(0, 256, (12, *network.in_shape)).astype(np.uint8)
    cut = Cut(network, network.last)
    return cut, parameters, quantize.quantize(cut, parameters, images), images


BOTTLENECKS = ("mobilenet_v2:random:3:0.35", (38, 33))
NETWORKS = [
    ("resnet8:random:1", (27, 35)),
    ("ds_cnn:random:2", (49, 10)),
    pytest.param(*BOTTLENECKS, marks=pytest.mark.long),
    pytest.param("efficientnet_lite0:random:4", (33, 40), marks=pytest.mark.long),
]


@pytest.mark.parametrize(("name", "hw"), NETWORKS)
def test_networks_run_as_the_oracle_says(name, hw):
    cut, _, made, images = quantized(name, hw)
    got = jax.jit(frozen.trace)(made.stage, jnp.asarray(images[:2]))
    for one, other in zip(got, oracle.trace(made.stage, images[:2]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(got) == len(cut.below) + 1


@pytest.mark.long
@pytest.mark.parametrize(("name", "hw"), NETWORKS)
def test_five_cuts_run_in_onnx_runtime_to_the_same_codes(name, hw):
    pytest.importorskip("onnxruntime", reason="needs the extra qlrjax[onnx]")
    from support import onnx_runtime

    from qlrjax.export.onnx import exact

    cut, _, made, images = quantized(name, hw)
    outputs = frozen.trace(made.stage, jnp.asarray(images))
    cuts = cut.network.latent_layers[1:]
    for latent_layer in cuts[:: max(len(cuts) // 4, 1)][-5:]:
        stage = made.stage[:latent_layer]
        model = exact.export(stage, cut.image_shape)
        got = onnx_runtime.run(model.SerializeToString(), images)
        np.testing.assert_array_equal(got, outputs[latent_layer - 1])


@pytest.mark.parametrize("kind", ["add", "max_pool", "average_pool"])
@pytest.mark.parametrize("zeros", [(0, 0), (31, 90)])
def test_a_qdq_layer_without_weights_is_off_by_one_at_most(kind, zeros):
    pytest.importorskip("onnxruntime", reason="needs the extra qlrjax[onnx]")
    from support import onnx_runtime

    from qlrjax.export.onnx import qdq

    random = np.random.default_rng(8)
    first = cases.random_layer(random, "depthwise", 3, 3, kernel=(1, 1), shift=14)
    if kind == "add":
        layer = add_layer([9000, 4000, 7000], [3000, -2000, 8000], [2**17, 2**20, 0], 14)
    else:
        layer = pooling(kind, (3, 2), 2, ((1, 0), (0, 1)), random)
        layer = layer.replace(kappa=layer.kappa // 8, shift=13, inputs=(0,))
        if kind == "average_pool":
            layer = layer.replace(pad_value=jnp.full_like(layer.pad_value, zeros[0]))
    images = cases.random_images(random, (9, 7, 6, 3))
    stage = (first, layer)
    model = qdq.export(stage, (7, 6, 3), (3.0, 5.0), zeros)
    codes, got = onnx_runtime.trace(model, images, ["layer00.codes", "layer01.codes"])
    taken = codes.transpose(0, 2, 3, 1)
    wanted = oracle.apply_layer(layer, taken, *([images] if kind == "add" else []))
    difference = np.abs(got.transpose(0, 2, 3, 1).astype(int) - wanted)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02


@pytest.mark.parametrize(("name", "hw"), NETWORKS)
def test_plain_arrays_give_the_graph_back(name, hw, tmp_path):
    cut, _, made, _ = quantized(name, hw)
    arrays.write(tmp_path / "net.npz", made.stage)
    again = deployed.load(tmp_path / "net.npz", cut.image_shape)
    assert jax.tree.structure(again) == jax.tree.structure(made.stage)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(made.stage), strict=True):
        np.testing.assert_array_equal(one, other)


def test_arguments_of_graphs_are_checked():
    pool = {"kind": "max_pool", "weight": [], "kappa": [1, 1], "lam": 0, "shift": 0}
    with pytest.raises(ContractViolation, match=r"window .* must be height and width"):
        deployed.stage([{**pool, "window": [2]}], (4, 4, 2))
    with pytest.raises(ContractViolation, match=r"layer 0: inputs .* -5 to -5"):
        deployed.stage([{**pool, "window": [2, 2], "inputs": [-5]}], (4, 4, 2))
    with pytest.raises(ContractViolation, match="kappa_b is there for adds"):
        deployed.stage([{**pool, "window": [2, 2], "kappa_b": 1}], (4, 4, 2))
    (layer,) = deployed.stage([{**pool, "window": [2, 3], "stride": 2}], (4, 5, 2))
    assert contract.output_shape(layer, (4, 5, 2)) == (2, 2, 2)


@pytest.mark.parametrize(("name", "hw"), NETWORKS)
def test_the_integer_graph_stays_close_to_the_float_one(name, hw):
    cut, parameters, made, images = quantized(name, hw)
    rows = fidelity.fidelity(cut, parameters, made, images)
    assert [row.layer for row in rows] == [*(layer.name for layer in cut.below), "pool"]
    assert min(row.cosine for row in rows) > 0.97


def test_codes_of_negative_values_have_an_offset_and_others_none():
    cut, _, made, _ = quantized(*BOTTLENECKS)
    for layer, zero in zip(cut.below, made.zero_codes, strict=False):
        assert (zero > 0) == (layer.activation == "none"), layer.name


def test_an_offset_reaches_the_padding_of_the_next_layer():
    cut, _, made, _ = quantized(*NETWORKS[0])
    place = {layer.name: layer.index for layer in cut.below} | {IMAGES: IMAGE}
    for layer, integer in zip(cut.below, made.stage, strict=False):
        source = place[layer.inputs[0]]
        if layer.has_weights and source != IMAGE:
            assert (np.asarray(integer.pad_value) == made.zero_codes[source]).all()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (add_layer([1], [1], [0], 0, inputs=(0,)), r"takes the outputs of layers \[0\]"),
        (add_layer([1], [1], [0], 0, inputs=(0, 1)), r"\[0, 1\]"),
    ],
)
def test_what_the_contract_does_not_cover_is_refused(layer, message):
    first = cases.random_layer(np.random.default_rng(0), "pointwise", 1, 1)
    with pytest.raises(ContractViolation, match=message):
        contract.check_stage((first, layer), (3, 3, 1))


def test_an_add_of_different_shapes_is_refused():
    first = cases.random_layer(np.random.default_rng(0), "pointwise", 1, 2)
    with pytest.raises(ContractViolation, match=r"adds outputs of shapes \(3, 3, 2\) and"):
        contract.check_stage((first, add_layer([1], [1], [0], 0)), (3, 3, 1))


def test_a_maximum_is_padded_with_code_0_only():
    random = np.random.default_rng(0)
    layer = pooling("max_pool", (2, 2), 1, ((1, 1), (0, 0)), random)
    fields = SimpleNamespace(**{f: getattr(layer, f) for f in layer.__dataclass_fields__})
    fields.pad_value = np.array([0, 3, 0], np.uint8)
    with pytest.raises(ContractViolation, match="codes above 0"):
        contract.check_layer(fields)


def test_networks_of_mlperf_tiny_have_the_cuts_that_a_hand_count_gives():
    assert resnet8().latent_layers == (0, 1, 4, 8, 12)
    assert ds_cnn().latent_layers == tuple(range(10))
