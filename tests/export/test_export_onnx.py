"""The exported graphs in ONNX Runtime: the exact one bit for bit, QDQ within one code a layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import cases, oracle

from qlrjax import weights
from qlrjax.integer import fixedpoint, frozen, quantize
from qlrjax.network import Cut, mobilenet_v1
from qlrjax.streams import builtin

onnx = pytest.importorskip("onnx", reason="needs the extra qlrjax[onnx]")
runtime = pytest.importorskip("onnxruntime", reason="needs the extra qlrjax[onnx]")

from support import onnx_runtime  # noqa: E402

from qlrjax.export.onnx import exact as onnx_exact  # noqa: E402
from qlrjax.export.onnx import qdq as onnx_qdq  # noqa: E402


def run(model, images):
    return onnx_runtime.run(model.SerializeToString(), images)


@pytest.mark.parametrize("convention", ["tensorflow", "pytorch"])
@pytest.mark.parametrize("extreme", [False, True])
def test_every_latent_layer_is_bit_equal(convention, extreme):
    random = np.random.default_rng(11)
    network = mobilenet_v1(0.25, (47, 33), padding_convention=convention)
    stage = cases.random_stage(network, network.last, random, extreme=extreme)
    images = cases.random_images(random, (2, 47, 33, 3), extreme)
    outputs = [images, *oracle.trace(stage, images)]  # test_frozen: equal to frozen.trace
    # Latent layers 0 to 26, then 27 without and with the pooling.
    for cut, expected in enumerate(outputs):
        got = run(onnx_exact.export(stage[:cut], (47, 33, 3)), images)
        assert got.dtype == np.uint8
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("width", [0.25, 0.5, 0.75, 1.0])
def test_every_width_is_bit_equal(width):
    random = np.random.default_rng(12)
    network = mobilenet_v1(width, (35, 64))
    stage = cases.random_stage(network, network.last, random)
    images = cases.random_images(random, (1, 35, 64, 3))
    got = run(onnx_exact.export(stage, (35, 64, 3)), images)
    np.testing.assert_array_equal(got, oracle.apply(stage, images))


@pytest.mark.parametrize("kind", ["conv", "depthwise", "pointwise", "linear", "pool"])
@pytest.mark.parametrize("shift", [0, 1, 13, 31])
@pytest.mark.parametrize("bits", [1, 8])
def test_single_layers_at_the_edges(kind, shift, bits):
    """Non-zero padding of every channel, stride 2, INT32_MIN and INT32_MAX in kappa and lam."""
    random = np.random.default_rng(shift)
    for extreme in (True, False):
        layer = cases.random_layer(
            random,
            kind,
            5,
            7,
            kernel=(3, 2),
            stride=2,
            padding=((1, 0), (2, 1)),
            shift=shift,
            bits=bits,
            extreme=extreme,
        )
        images = cases.random_images(random, (3, 6, 5, 5), extreme)
        got = run(onnx_exact.export((layer,), (6, 5, 5)), images)
        np.testing.assert_array_equal(got, oracle.apply_layer(layer, images))


@pytest.mark.parametrize("bits", range(1, 9))
def test_narrowed_codes_are_the_replay_memory_s(bits):
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    got = run(onnx_exact.export((), (16, 16, 1), replay_bits=bits), images)
    np.testing.assert_array_equal(got, fixedpoint.narrow(jnp.asarray(images), bits))


def test_the_exact_graph_holds_no_float():
    network = mobilenet_v1(0.25, 32)
    stage = cases.random_stage(network, 27, np.random.default_rng(0))
    model = onnx_exact.export(stage, (32, 32, 3), latent_max=6.0, replay_bits=6)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    kinds = {value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    kinds |= {constant.data_type for constant in model.graph.initializer}
    kind = onnx.TensorProto
    assert kinds <= {kind.UINT8, kind.INT32, kind.INT64, kind.BOOL}
    assert {entry.key: entry.value for entry in model.metadata_props} == {
        "layers": "28",
        "bits": "6",
        "latent_max": "6.0",
    }


@pytest.mark.parametrize("kind", ["conv", "depthwise", "pointwise", "pool"])
@pytest.mark.parametrize("uniform", [True, False])
def test_a_qdq_layer_is_off_by_one_at_most(kind, uniform):
    random = np.random.default_rng(21)
    layer = cases.random_layer(random, kind, 8, 8, stride=2, padding=((1, 1), (0, 1)), shift=18)
    layer = layer.replace(weight=jnp.maximum(layer.weight, -127))  # as `quantize` gives them
    if uniform:
        layer = layer.replace(pad_value=jnp.full_like(layer.pad_value, 77))
    images = cases.random_images(random, (40, 12, 9, 8))
    model = onnx_qdq.export((layer,), (12, 9, 8), ranges=(5.5,))
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in model.graph.node}
    difference = np.abs(run(model, images).astype(int) - oracle.apply_layer(layer, images))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_qdq_of_constant_and_narrow_channels():
    """kappa = 0, and a bias beyond int32, have no scale of their own; 4-bit outputs are clipped."""
    random = np.random.default_rng(22)
    layer = cases.random_layer(random, "pointwise", 8, 4, shift=20, bits=4)
    layer = layer.replace(
        kappa=jnp.asarray([0, 0, 1, -50], jnp.int32),
        lam=jnp.asarray([200 << 20, -(2**31), 2**31 - 1, 9 << 20], jnp.int32),
    )
    images = cases.random_images(random, (4, 6, 5, 8))
    got = run(onnx_qdq.export((layer,), (6, 5, 8)), images).astype(int)
    assert np.abs(got - oracle.apply_layer(layer, images)).max() <= 1


def test_qdq_needs_one_range_a_layer():
    layer = cases.random_layer(np.random.default_rng(0), "pointwise", 3, 3)
    with pytest.raises(ValueError, match="2 ranges do not fit 1 layers"):
        onnx_qdq.export((layer,), (4, 4, 3), ranges=(1.0, 2.0))


@pytest.mark.slow
def test_real_weights_on_real_images():
    """The shipped ImageNet weights, quantized, on Fashion-MNIST photos: all 28 outputs at once."""
    source = builtin.source((128, 128))
    images = source.read(np.arange(0, 4000, 500))
    network, parameters = weights.load("builtin", 10, 128)
    stage = quantize.quantize(Cut(network, network.last), parameters, images).stage
    model = onnx_exact.export(stage, (128, 128, 3))
    for index in range(len(stage)):
        value = onnx.helper.make_tensor_value_info(
            f"layer{index:02d}.codes", onnx.TensorProto.UINT8, None
        )
        model.graph.output.append(value)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    _, *expected = session.run(None, {"images": images})
    got = jax.jit(frozen.trace)(stage, jnp.asarray(images))
    assert len(got) == len(expected) == 28
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, np.moveaxis(other, 1, -1))
        assert len(np.unique(one)) > 100
