"""Pretrained parameters: the asset, Keras' layout, and every way a file can be wrong."""

import h5py
import numpy as np
import pytest

from qlrjax import weights
from qlrjax.network import mobilenet_v1
from qlrjax.weights import by_name


def test_builtin_weights_fit_the_table_and_are_sane():
    network, parameters = weights.load("builtin", 10, 128)
    assert network.padding_convention == "tensorflow"
    assert network.activation == "relu6"
    total = sum(own["weight"].size for own in parameters.values())
    assert total == 3_185_088  # MobileNet-V1 1.0 without its classifier
    # Some variances are tiny, which is why epsilon stays inside the square root.
    assert min(own["variance"].min() for own in parameters.values()) < 1e-20


def test_random_weights_are_a_function_of_the_seed():
    _, first = weights.load("random:3:0.25", 5, 32)
    network, again = weights.load("random:3:0.25", 5, 32)
    assert network.width == 0.25
    for name, own in first.items():
        for key in own:
            np.testing.assert_array_equal(own[key], again[name][key])
    _, other = weights.load("random:4:0.25", 5, 32)
    assert not np.array_equal(first["conv1"]["weight"], other["conv1"]["weight"])


def test_npz_round_trip(tmp_path):
    network, parameters = weights.load("random:1:0.5", 5, 32)
    path = tmp_path / "own.npz"
    arrays = {
        f"{name}:{key}": value for name, own in parameters.items() for key, value in own.items()
    }
    np.savez(path, **arrays)
    loaded_network, loaded = weights.load(str(path), 7, 64)
    assert loaded_network.width == network.width
    np.testing.assert_array_equal(loaded["conv6/sep"]["weight"], parameters["conv6/sep"]["weight"])


def keras_file(path, width=0.25, without=()):
    """A file as keras.applications writes it: layer/layer/tensor:0, Keras' own axis order."""
    network = mobilenet_v1(width)
    parameters = weights.random(network, 5)
    with h5py.File(path, "w") as file:
        for layer in network.layers[:-1]:
            own, block = parameters[layer.name], (layer.index + 1) // 2
            name = {"conv": "conv1", "depthwise": f"conv_dw_{block}"}.get(
                layer.kind, f"conv_pw_{block}"
            )
            kernel = own["weight"]
            if layer.kind == "depthwise":
                kernel, key = kernel[..., None], "depthwise_kernel:0"
            else:
                kernel = kernel[None, None] if layer.kind == "pointwise" else kernel
                key = "kernel:0"
            tensors = {f"{name}/{name}/{key}": kernel}
            norms = {
                "gamma": "gamma",
                "beta": "beta",
                "mean": "moving_mean",
                "variance": "moving_variance",
            }
            for ours, theirs in norms.items():
                tensors[f"{name}_bn/{name}_bn/{theirs}:0"] = own[ours]
            for tensor, value in tensors.items():
                if tensor not in without:
                    file[tensor] = value
    return parameters


def test_keras_file_gives_the_same_parameters(tmp_path):
    expected = keras_file(tmp_path / "mobilenet_2_5_128_tf_no_top.h5")
    network, loaded = weights.load(str(tmp_path / "mobilenet_2_5_128_tf_no_top.h5"), 50, 128)
    assert network.width == 0.25
    for name, own in expected.items():
        for key, value in own.items():
            np.testing.assert_array_equal(loaded[name][key], value, err_msg=f"{name}:{key}")


def test_keras_file_without_a_tensor_is_refused_by_name(tmp_path):
    path = tmp_path / "k.h5"
    keras_file(path, without=("conv_dw_7_bn/conv_dw_7_bn/moving_mean:0",))
    with pytest.raises(weights.WeightsError, match="conv_dw_7_bn/moving_mean"):
        weights.load(str(path), 50, 128)


@pytest.mark.parametrize(
    ("layer", "key", "value", "message"),
    [
        ("conv6/dw", "weight", np.zeros((3, 3, 4), np.float32), r"weight has shape \[3, 3, 4\]"),
        ("conv1", "gamma", np.full(8, np.nan, np.float32), "conv1:gamma holds NaN"),
        ("conv1", "variance", np.full(8, -1, np.float32), "conv1:variance is negative"),
        ("conv4_1/sep", "weight", None, "no tensor conv4_1/sep:weight"),
    ],
)
def test_unusable_tensors_are_named(layer, key, value, message):
    network = mobilenet_v1(0.25, 32)
    parameters = weights.random(network, 0)
    parameters[layer][key] = value
    if value is None:
        del parameters[layer][key]
    with pytest.raises(weights.WeightsError, match=message):
        weights.check(network, parameters, "file.npz")


def test_missing_truncated_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(weights.WeightsError, match="there is no weights file"):
        weights.load(str(tmp_path / "none.h5"), 10, 128)
    (tmp_path / "t.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(weights.WeightsError, match="not a readable"):
        weights.load(str(tmp_path / "t.npz"), 10, 128)
    (tmp_path / "t.h5").write_bytes(b"\x89HDF\r\n\x1a\n cut")
    with pytest.raises(weights.WeightsError, match="not a readable HDF5"):
        weights.load(str(tmp_path / "t.h5"), 10, 128)
    (tmp_path / "w.txt").write_text("x")
    with pytest.raises(weights.WeightsError, match=r"weights are \.h5, \.npz or \.onnx"):
        weights.load(str(tmp_path / "w.txt"), 10, 128)


def test_a_damaged_asset_is_noticed(monkeypatch):
    asset, _ = by_name.ASSETS["mobilenet_v1"]
    monkeypatch.setitem(by_name.ASSETS, "mobilenet_v1", (asset, "0" * 64))
    with pytest.raises(weights.WeightsError, match="install qlrjax again"):
        weights.load_builtin()


def flat(parameters):
    return {
        f"{name}:{key}": value for name, own in parameters.items() for key, value in own.items()
    }


@pytest.mark.parametrize(
    ("tensor", "value", "message"),
    [
        ("conv1:weight", np.float32(1), r"conv1:weight has shape \[\]"),
        ("conv1:weight", np.zeros((3, 3, 3, 0), np.float32), r"shape \[3, 3, 3, 0\]"),
        ("conv1:gamma", np.ones(8, np.complex64), "conv1:gamma holds complex64"),
        ("conv1:mean", np.full(8, 1e300), "conv1:mean holds NaN or infinity"),
        ("conv1:mean", np.array([{}], object), "not a readable .npz"),
    ],
)
def test_npz_of_other_kinds_of_tensors_is_refused(tmp_path, tensor, value, message):
    arrays = flat(weights.random(mobilenet_v1(0.25, 32), 0)) | {tensor: value}
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(weights.WeightsError, match=message):
        weights.load(str(tmp_path / "w.npz"), 10, 32)


def test_flipped_bytes_of_an_npz_are_refused_or_harmless(tmp_path):
    path = tmp_path / "w.npz"
    parameters = weights.random(mobilenet_v1(0.25, 32), 0)
    np.savez_compressed(path, **flat(parameters))
    data, generator = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        damaged = bytearray(data)
        damaged[generator.integers(len(data))] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged)
        try:
            _, loaded = weights.load(str(path), 10, 32)
        except weights.WeightsError:
            refused += 1
            continue
        for name, value in flat(parameters).items():  # time stamps and the like
            np.testing.assert_array_equal(flat(loaded)[name], value)
    assert refused > 80


def test_an_npy_named_npz_is_refused(tmp_path):
    with (tmp_path / "w.npz").open("wb") as file:
        np.save(file, np.zeros(3, np.float32))
    with pytest.raises(weights.WeightsError, match="not a readable"):
        weights.load(str(tmp_path / "w.npz"), 10, 32)


@pytest.mark.parametrize(
    ("tensor", "shape"),
    [
        ("conv_pw_3/conv_pw_3/kernel:0", (3, 3, 32, 32)),
        ("conv_pw_3/conv_pw_3/kernel:0", (1024,)),
        ("conv_dw_3/conv_dw_3/depthwise_kernel:0", (3, 3, 32, 2)),
        ("conv1/conv1/kernel:0", ()),
    ],
)
def test_keras_kernels_of_another_shape_are_refused(tmp_path, tensor, shape):
    path = tmp_path / "k.h5"
    keras_file(path, without=(tensor,))
    with h5py.File(path, "r+") as file:
        file[tensor] = np.ones(shape, np.float32)
    with pytest.raises(weights.WeightsError, match=r"has shape \["):
        weights.load(str(path), 50, 128)


def test_damaged_structure_of_hdf5_is_refused(tmp_path):
    path = tmp_path / "k.h5"
    keras_file(path)
    data, generator = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(40):  # HDF5 has no checksum of the values; its structure comes first
        damaged = bytearray(data)
        damaged[generator.integers(20000)] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged)
        try:
            weights.load(str(path), 50, 128)
        except weights.WeightsError:
            refused += 1
    assert refused > 0
