"""ONNX files as three exporters write them, and every kind of node that is refused by name."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra qlrjax[onnx]")
runtime = pytest.importorskip("onnxruntime", reason="needs the extra qlrjax[onnx]")

import dataclasses  # noqa: E402

import jax.numpy as jnp  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from qlrjax import weights  # noqa: E402
from qlrjax.network import floating, mobilenet_v2  # noqa: E402

FILES = [
    "mobilenet_v2_035_96_bn",
    "mobilenet_v2_035_96_folded",
    "residual_64_bn",
    "residual_64_folded",
    "residual_64_dynamo",
]


@pytest.mark.parametrize("name", FILES)
def test_pytorch_s_files_give_pytorch_s_outputs(shared, name):
    folder = shared / "data" / "networks"
    expected = np.load(folder / f"{name}_expected.npz")
    network, parameters = weights.load(str(folder / f"{name}.onnx"), 10, expected["x"].shape[2])
    plain = dataclasses.replace(network, pixel_mean=(0.0,) * 3, pixel_std=(1.0,) * 3)
    got = floating.classify(plain, parameters, jnp.asarray(expected["x"].transpose(0, 2, 3, 1)))
    assert np.abs(np.asarray(got) - expected["y"]).max() < 1e-4
    has_norm = any(layer.batch_norm for layer in network.layers)
    assert has_norm == name.endswith("_bn")


def test_the_builder_s_mobilenet_v2_is_torchvision_s(shared):
    path = shared / "data" / "networks" / "mobilenet_v2_035_96_bn.onnx"
    network, _ = weights.load(str(path), 10, 96)
    own = mobilenet_v2(0.35, 96, 10)
    plain = {"name": "", "inputs": ()}
    places = [
        {row.name: row.index for row in net.layers} | {"images": -1} for net in (network, own)
    ]
    for one, other in zip(network.layers, own.layers, strict=True):
        assert dataclasses.replace(one, **plain) == dataclasses.replace(other, **plain)
        assert [places[0][s] for s in one.inputs] == [places[1][s] for s in other.inputs]
    assert network.bn_epsilon == pytest.approx(own.bn_epsilon)


class Model:
    """A small ONNX model, node by node; NCHW unless `last`."""

    def __init__(self, shape=("n", 3, 9, 8)):
        self.shape, self.nodes, self.constants, self.value = shape, [], [], "x"
        self.random = np.random.default_rng(5)

    def constant(self, array, integer=False):
        name = f"c{len(self.constants)}"
        array = np.asarray(array, np.int64 if integer else np.float32)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operator, *others, name=None, source=None, **attributes):
        name = name or f"{operator.lower()}{len(self.nodes)}"
        inputs = [source or self.value, *others]
        self.nodes.append(helper.make_node(operator, inputs, [f"{name}_y"], name, **attributes))
        self.value = f"{name}_y"
        return self

    def conv(self, c_in, c_out, kernel=(3, 3), group=1, bias=True, **attributes):
        weight = self.random.normal(0, 0.3, (c_out, c_in // group, *kernel))
        others = [self.constant(weight)]
        if bias:
            others.append(self.constant(self.random.normal(0, 0.3, c_out)))
        return self.add("Conv", *others, group=group, **attributes)

    def norm(self, channels):
        rows = [self.random.uniform(0.5, 1.5, channels) for _ in range(4)]
        return self.add("BatchNormalization", *map(self.constant, rows), epsilon=1e-3)

    def dense(self, c_in, c_out):
        return self.add("MatMul", self.constant(self.random.normal(0, 0.3, (c_in, c_out)))).add(
            "Add", self.constant(self.random.normal(0, 0.3, c_out))
        )

    def save(self, path, out=("n", "m"), metadata=None, opset=17):
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(self.value, TensorProto.FLOAT, out)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8
        helper.set_model_props(model, metadata or {})
        onnx.save(model, path)
        return str(path)


def agrees(path, hw, channels=3, last=False):
    """Our float network against ONNX Runtime, on images that both understand."""
    network, parameters = weights.load(path, 10, hw)
    codes = np.random.default_rng(1).integers(0, 256, (3, *hw, channels)).astype(np.uint8)
    mean, std = np.float32(network.pixel_mean), np.float32(network.pixel_std)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = (codes.astype(np.float32) - mean) / std
    if not last:
        x = x.transpose(0, 3, 1, 2)
    (wanted,) = session.run(None, {"x": np.ascontiguousarray(x)})
    kept = network.with_classes(wanted.shape[1])
    got = np.asarray(floating.classify(kept, parameters, jnp.asarray(codes)))
    np.testing.assert_allclose(got, wanted, atol=1e-4 * max(1, np.abs(wanted).max()))
    return network


def test_keras_style_channels_last(tmp_path):
    """tf2onnx: a Transpose at both ends, Min after Relu, an explicit Pad, MatMul with Add."""
    model = Model(("n", 9, 8, 3)).add("Transpose", perm=[0, 3, 1, 2])
    model.add("Pad", model.constant([0, 0, 0, 0, 0, 0, 1, 1], integer=True))
    model.conv(3, 6, strides=[2, 2], bias=False).norm(6).add("Relu")
    model.add("Min", model.constant(6.0))
    model.conv(6, 6, group=6, auto_pad="SAME_UPPER", strides=[2, 2]).norm(6)
    model.add("Clip", model.constant(0.0), model.constant(6.0))
    model.add("Transpose", perm=[0, 2, 3, 1]).add("ReduceMean", axes=[1, 2], keepdims=0)
    model.dense(6, 4).add("Softmax")
    model.nodes.pop()  # Runtime's logits are compared; the softmax has its own test
    model.value = model.nodes[-1].output[0]
    network = agrees(model.save(tmp_path / "k.onnx"), (9, 8), last=True)
    assert [layer.activation for layer in network.layers] == ["relu6", "relu6", "none"]
    assert network.layers[0].padding == ((0, 1), (0, 1))


def test_a_residual_with_maximum_pools_and_a_flattened_hidden_layer(tmp_path):
    model = Model().conv(3, 4, (5, 3), pads=[2, 1, 2, 1]).add("Relu")
    model.add("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0])
    before = model.value
    model.conv(4, 4, pads=[1, 1, 1, 1]).norm(4)
    model.add("Add", before).add("Relu")
    model.add("AveragePool", kernel_shape=[2, 2], strides=[1, 1])
    model.add("Flatten").add(
        "Gemm",
        model.constant(model.random.normal(0, 0.2, (7, 4 * 4 * 3))),
        model.constant(np.ones(7)),
        transB=1,
    )
    model.add("Relu").dense(7, 5)
    network = agrees(model.save(tmp_path / "r.onnx"), (9, 8))
    kinds = [layer.kind for layer in network.layers]
    assert kinds == ["conv", "max_pool", "conv", "add", "average_pool", "conv", "linear"]
    assert network.layers[5].kernel_hw == (4, 3)


def test_a_network_that_normalises_its_own_input_takes_codes(tmp_path):
    model = Model()
    model.add("Mul", model.constant(1 / 255.0))
    model.add("Sub", model.constant(np.reshape([0.4, 0.5, 0.6], (1, 3, 1, 1))))
    model.add("Div", model.constant(np.reshape([0.2, 0.3, 0.25], (1, 3, 1, 1))))
    model.conv(3, 4).add("Relu").add("GlobalAveragePool").add("Flatten").dense(4, 3)
    path = model.save(tmp_path / "n.onnx")
    network, parameters = weights.load(path, 3, (9, 8))
    np.testing.assert_allclose(network.pixel_mean, [102, 127.5, 153], rtol=1e-5)
    codes = np.random.default_rng(2).integers(0, 256, (2, 9, 8, 3)).astype(np.uint8)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": codes.transpose(0, 3, 1, 2).astype(np.float32)})
    got = floating.classify(network, parameters, jnp.asarray(codes))
    np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_metadata_says_what_a_pixel_is(tmp_path):
    model = Model().conv(3, 4).add("Relu").add("GlobalAveragePool").add("Flatten").dense(4, 3)
    said = {"qlrjax.pixel_mean": "1,2,3", "qlrjax.pixel_std": "4, 5,6.5"}
    network, _ = weights.load(model.save(tmp_path / "m.onnx", metadata=said), 3, (9, 8))
    assert (network.pixel_mean, network.pixel_std) == ((1, 2, 3), (4, 5, 6.5))
    path = model.save(tmp_path / "b.onnx", metadata={"qlrjax.pixel_mean": "1,2"})
    with pytest.raises(weights.WeightsError, match="pixels are '1,2'; give 3 numbers"):
        weights.load(path, 3, (9, 8))


def squeeze_and_excitation(model):
    before = model.conv(3, 4).add("Relu").value
    model.add("GlobalAveragePool").conv(4, 2, (1, 1)).add("Relu").conv(2, 4, (1, 1))
    model.add("Sigmoid", name="gate")
    return model.add("Mul", before)


def attention(model):
    before = model.conv(3, 4).add("Flatten").value
    return model.add("MatMul", before, name="scores")


BAD = {
    "squeeze": (squeeze_and_excitation, r"node gate \(Sigmoid\) .*squeeze-and-excitation"),
    "grouped": (
        lambda model: model.conv(3, 6).conv(6, 6, group=2),
        r"node conv1 \(Conv\) is a convolution in 2 groups of 6 channels to 6",
    ),
    "concat": (
        lambda model: model.conv(3, 4).add("Concat", "conv0_y", name="join", axis=1),
        r"node join \(Concat\) joins channels",
    ),
    "attention": (attention, r"node scores \(MatMul\) multiplies two activations, as attention"),
    "dilated": (lambda model: model.conv(3, 4, dilations=[2, 2]), r"\(Conv\) is dilated by"),
    "steps": (lambda model: model.conv(3, 4, strides=[2, 1]), r"\(Conv\) steps by \[2, 1\]"),
    "leaky": (
        lambda model: model.conv(3, 4).add("LeakyRelu", name="soft"),
        r"node soft \(LeakyRelu\) is no activation",
    ),
    "border": (
        lambda model: model.conv(3, 4).add("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        r"\(AveragePool\) averages over fewer pixels at the border",
    ),
    "up": (
        lambda model: model.conv(3, 4).add("MaxPool", kernel_shape=[2, 2], ceil_mode=1),
        r"\(MaxPool\) rounds its output size up",
    ),
    "sine": (lambda model: model.conv(3, 4).add("Sin", name="wave"), r"node wave \(Sin\) is no op"),
    "early": (lambda model: model.conv(3, 4).add("Relu"), r"ends in conv0 with 7 x 6 pixels"),
    "clip": (
        lambda model: model.conv(3, 4).add("Clip", "", model.constant(1.0)),
        r"\(Clip\) clips to None\.\.1\.0",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_our_graph_cannot_hold_is_refused_by_node_and_operator(tmp_path, name):
    build, message = BAD[name]
    path = build(Model()).save(tmp_path / "bad.onnx", out=("a", "b", "c", "d"))
    with pytest.raises(weights.WeightsError, match=message) as caught:
        weights.load(path, 3, (9, 8))
    assert "\n" not in str(caught.value)


def test_another_resolution_and_damaged_files_are_refused(tmp_path):
    model = Model().conv(3, 4).add("GlobalAveragePool").add("Flatten").dense(4, 3)
    path = model.save(tmp_path / "m.onnx")
    with pytest.raises(weights.WeightsError, match="images of 9 x 8 pixels, not 32 x 32"):
        weights.load(path, 3, 32)
    data = (tmp_path / "m.onnx").read_bytes()
    for cut in (0, 1, len(data) // 2):
        (tmp_path / "cut.onnx").write_bytes(data[:cut])
        with pytest.raises(weights.WeightsError, match=r"cut\.onnx"):
            weights.load(str(tmp_path / "cut.onnx"), 3, (9, 8))
    with pytest.raises(weights.WeightsError, match="there is no weights file"):
        weights.load(str(tmp_path / "none.onnx"), 3, (9, 8))
