"""Networks from plain arrays: PULP-NN's loops rewritten here, and all that must be refused."""

import zipfile
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import cases, oracle

from qlrjax.export import arrays
from qlrjax.integer import contract, deployed, frozen
from qlrjax.integer.contract import ContractViolation
from qlrjax.network import mobilenet_v1

APPLY, ACCUMULATE = jax.jit(frozen.apply_layer), jax.jit(frozen.accumulate)


def pulp_nn(kind, x, weight, bias, k, lam, d, stride, pad):
    """What PULP-NN's 64-bit kernels compute, pixel by pixel, on its own weight order, in Python.

    Convolution and linear weights are [cout][kh][kw][cin], depthwise ones [c][kh][kw]; the sum
    starts at the bias; batch norm is (k * sum + lambda) >> d, clipped to 8 bits.
    """
    height, width, _ = x.shape
    kh, kw = weight.shape[1:3]
    (top, bottom), (left, right) = pad
    out_h = (height + top + bottom - kh) // stride + 1
    out_w = (width + left + right - kw) // stride + 1
    out = np.zeros((out_h, out_w, len(weight)), np.uint8)
    for oy, ox, oc in np.ndindex(out.shape):
        acc = int(bias[oc])
        for ky, kx in np.ndindex(kh, kw):
            y, z = oy * stride - top + ky, ox * stride - left + kx
            if 0 <= y < height and 0 <= z < width:  # the padding is zero
                pixel, row = x[y, z].astype(int), weight[oc, ky, kx].astype(int)
                acc += int(pixel[oc] * row) if kind == "depthwise" else int((pixel * row).sum())
        out[oy, ox, oc] = min(max((int(k[oc]) * acc + int(lam[oc])) >> d, 0), 255)
    return out


@pytest.mark.parametrize("kind", ["conv", "depthwise", "pointwise", "linear"])
@pytest.mark.parametrize("stride", [1, 2])
def test_pulp_nn_layer_is_reproduced(kind, stride):
    random = np.random.default_rng(stride)
    c_in, c_out = 4, 4 if kind == "depthwise" else 6
    plain = kind in ("pointwise", "linear")
    kernel, stride = ((1, 1), 1) if plain else ((3, 2), stride)
    pad = ((0, 0), (0, 0)) if plain else ((1, 0), (0, 1))
    shape = (c_out, *kernel) if kind == "depthwise" else (c_out, *kernel, c_in)
    weight = random.integers(-128, 128, shape).astype(np.int8)
    bias = random.integers(-128, 128, c_out)
    k, lam = random.integers(-300, 300, c_out), random.integers(0, 2**24, c_out)
    x = random.integers(0, 256, (7, 5, c_in)).astype(np.uint8)
    layer = deployed.layer(
        {
            "kind": kind,
            "weight": weight,
            "kappa": k,
            "lam": lam,
            "shift": 16,
            "stride": stride,
            "padding": pad,
            "bias": bias,
            "layout": "ohwi",
        }
    )
    expected = pulp_nn(kind, x, weight, bias, k, lam, 16, stride, pad)
    assert len(np.unique(expected)) > 10
    np.testing.assert_array_equal(APPLY(layer, jnp.asarray(x[None]))[0], expected)


@pytest.mark.parametrize("pixels", [(1, 1), (2, 3), (4, 4), (7, 5), (16, 16), (53, 54)])
def test_floor_mean_is_the_integer_division(pixels):
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (50, *pixels, 3)).astype(np.uint8)
    x[0], x[1] = 255, 254
    layer = deployed.floor_mean(3, pixels[0] * pixels[1])
    got = APPLY(layer, jnp.asarray(x))[:, 0, 0]
    expected = x.astype(np.int64).sum(axis=(1, 2)) // (pixels[0] * pixels[1])
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("layout", ["hwio", "ohwi", "oihw"])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "pointwise", "linear"])
def test_layouts_are_the_same_layer(kind, layout):
    random = np.random.default_rng(1)
    weight, kappa, lam, pad = cases.random_arrays(random, kind, 3, 3, (3, 2))
    axes = {
        ("conv", "ohwi"): (3, 0, 1, 2),
        ("conv", "oihw"): (3, 2, 0, 1),
        ("depthwise", "ohwi"): (2, 0, 1),
        ("depthwise", "oihw"): (2, 0, 1),
    }.get((kind, layout), (1, 0))
    given = weight if layout == "hwio" else weight.transpose(axes)
    if kind == "depthwise" and layout == "oihw":
        given = given[:, None]
    said = {"kind": kind, "weight": given, "kappa": kappa, "lam": lam, "shift": 12}
    layer = deployed.layer({**said, "pad_value": pad, "layout": layout})
    np.testing.assert_array_equal(layer.weight, weight)
    x = cases.random_images(random, (1, 5, 6, 3))
    np.testing.assert_array_equal(APPLY(layer, jnp.asarray(x)), oracle.apply_layer(layer, x))


def test_a_file_gives_the_stage_back(tmp_path):
    network = mobilenet_v1(0.25, (39, 33), padding_convention="pytorch")
    stage = cases.random_stage(network, 27, np.random.default_rng(2), bits=6)
    arrays.write(tmp_path / "net.npz", stage, {"head": np.ones(3)})
    loaded = deployed.load(tmp_path / "net.npz", (39, 33, 3))
    assert [child.name for child in tmp_path.iterdir()] == ["net.npz"]
    for one, other in zip(loaded, stage, strict=True):
        for field in ("weight", "kappa", "lam", "pad_value"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
        for field in ("kind", "stride", "padding", "shift", "bits"):
            assert getattr(one, field) == getattr(other, field)


GOOD = {
    "kind": "conv",
    "weight": np.ones((3, 3, 2, 4), np.int8),
    "kappa": [1, 2, 3, 4],
    "lam": 0,
    "shift": 8,
    "padding": ((1, 1), (1, 1)),
}
BAD = [
    ({"kind": "maxpool"}, "kind 'maxpool' is unknown"),
    ({"weight": np.ones((3, 3, 4), np.int8)}, "rank 4"),
    ({"weight": np.ones((3, 3, 2, 0), np.int8)}, "rank 4"),
    ({"weight": np.full((3, 3, 2, 4), 200)}, "weight ranges from 200 to 200"),
    ({"weight": np.full((3, 3, 2, 4), np.nan)}, "weight holds NaN"),
    ({"weight": np.full((3, 3, 2, 4), 0.5)}, "weight holds fractions"),
    ({"weight": np.full((3, 3, 2, 4), "1")}, "weight has dtype"),
    ({"weight": np.full((3, 3, 2, 4), 1j)}, "weight has dtype"),
    ({"weight": np.full((3, 3, 2, 4), object())}, "weight has dtype object"),
    ({"weight": np.full((3, 3, 2, 4), True)}, "weight has dtype bool"),
    ({"layout": "chwn"}, "layout 'chwn' is unknown"),
    ({"kappa": [1, 2, 3]}, "kappa"),
    ({"kappa": [[1, 2, 3, 4]]}, "kappa"),
    ({"kappa": [1, 2, 3, 2**31]}, "kappa ranges from 1 to 2147483648"),
    ({"kappa": np.inf}, "kappa holds NaN or infinity"),
    ({"lam": -(2**31) - 1}, "lam ranges"),
    ({"lam": [0, 0, 0, 0, 0]}, "lam has shape"),
    ({"bias": [2**20] * 4, "kappa": 2**20}, "lam \\+ kappa \\* bias is 1099511627776"),
    ({"bias": 2**31 - 1}, "accumulator and bias together"),
    ({"pad_value": 256}, "pad_value ranges"),
    ({"pad_value": [0, 0, 0]}, "pad_value has shape"),
    ({"shift": 32}, "shift 32 is out of range"),
    ({"shift": -1}, "shift -1 is out of range"),
    ({"shift": 8.0}, "shift 8.0 is out of range"),
    ({"shift": True}, "shift True is out of range"),
    ({"bits": 0}, "0 output bits"),
    ({"bits": 9}, "9 output bits"),
    ({"stride": 0}, "stride 0"),
    ({"padding": ((0, -1), (0, 0))}, "padding"),
    ({"padding": (1, 1)}, "padding"),
    ({"padding": ((1, 1), (1,))}, "padding"),
    ({"kind": "pointwise", "weight": np.ones((2, 4), np.int8)}, "neither stride nor padding"),
    ({"kind": "linear", "weight": np.ones((3, 3, 2, 4), np.int8)}, "1 x 1"),
    (
        {"kind": "depthwise", "weight": np.ones((4, 2, 3, 3), np.int8), "layout": "oihw"},
        "one filter a channel",
    ),
    ({"zeta": 1}, "layer 0 has an unknown 'zeta'"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_layers_are_refused_by_name(change, message):
    deployed.stage([GOOD], (8, 8, 2))
    with pytest.raises(ContractViolation, match=message) as caught:
        deployed.stage([{**GOOD, **change}], (8, 8, 2))
    assert str(caught.value).startswith("layer 0")


def test_a_missing_argument_is_named():
    with pytest.raises(ContractViolation, match="layer 0 lacks 'kappa'"):
        deployed.stage([{key: GOOD[key] for key in GOOD if key != "kappa"}], (8, 8, 2))


def test_layers_must_fit_together():
    with pytest.raises(ContractViolation, match=r"layer 1 \(conv\): takes 2 channels.* has 4"):
        deployed.stage([GOOD, GOOD], (8, 8, 2))
    with pytest.raises(ContractViolation, match="smaller than the 3 x 3 window"):
        deployed.stage([{**GOOD, "padding": ((0, 0), (0, 0))}], (2, 9, 2))


def test_overflowing_accumulators_are_refused_and_the_edge_is_not():
    """255 * 127 * 66,310 is just below 2**31; one channel more is not."""

    def build(channels):
        weight = np.full((channels, 1), 127, np.int8)
        said = {"kind": "pointwise", "weight": weight, "kappa": 1, "lam": 0, "shift": 0}
        return deployed.layer(said, "wide")

    layer = build(66_310)
    assert contract.accumulator_bound(layer)[0] == 255 * 127 * 66_310 < 2**31
    with pytest.raises(ContractViolation, match=r"wide: .*channel 0 can reach 2147481735|int32"):
        build(66_313)
    pool = deployed.layer({"kind": "pool", "weight": [], "kappa": [1], "lam": 0, "shift": 31})
    contract.check_stage([pool], (2900, 2900, 1))
    with pytest.raises(ContractViolation, match="can reach"):
        contract.check_stage([pool], (2903, 2903, 1))


@pytest.mark.parametrize("kind", ["conv", "depthwise", "pointwise", "linear"])
def test_accumulator_bound_is_reached(kind):
    random = np.random.default_rng(4)
    layer = cases.random_layer(random, kind, 3, 3, kernel=(2, 3))
    weight = np.asarray(layer.weight).astype(np.int64)
    worst = 0
    for channel in range(3):
        for sign in (-1, 1):
            on = 255 * (weight[..., channel] * sign > 0)
            if kind == "depthwise":
                x = np.zeros((2, 3, 3), np.int64)
                x[..., channel] = on
            else:
                x = on if kind == "conv" else on[None, None]
            acc = ACCUMULATE(layer, jnp.asarray(x[None].astype(np.uint8)))
            worst = max(worst, abs(int(acc[0, 0, 0, channel])))
        assert worst >= 0
    assert worst == contract.accumulator_bound(layer).max()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weight", np.ones((3, 3, 2, 4), np.int32)),
        ("kappa", np.ones(4, np.int64)),
        ("lam", np.ones(4, np.float32)),
        ("pad_value", np.ones(2, np.int8)),
        ("lam", np.ones(5, np.int32)),
        ("kappa", np.ones((4, 1), np.int32)),
        ("weight", None),
    ],
)
def test_check_layer_sees_wrong_arrays(field, value):
    """Fields as a file may hold them, before they are a layer."""
    good = deployed.layer(GOOD)
    fields = {name: getattr(good, name) for name in good.__dataclass_fields__}
    raw = SimpleNamespace(**fields | {field: value})
    with pytest.raises(ContractViolation, match=field):
        contract.check_layer(raw)


def test_hostile_files_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "net.npz"
    np.savez(path, **{"layer00.weight": np.array([{"a": 1}], object)})
    with pytest.raises(ContractViolation, match="something else than arrays"):
        deployed.load(path, (8, 8, 2))
    path.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(ContractViolation, match=r"not an \.npz"):
        deployed.load(path, (8, 8, 2))
    with pytest.raises(ContractViolation, match=r"not an \.npz"):
        deployed.load(tmp_path / "missing.npz", (8, 8, 2))
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(ContractViolation, match=r"not an \.npz"):
        deployed.load(tmp_path / "one.npy", (8, 8, 2))
    np.savez(path, **{f"layer{name}.kind": np.array("conv") for name in ("00", "02")})
    with pytest.raises(ContractViolation, match="number them from 0"):
        deployed.load(path, (8, 8, 2))
    with monkeypatch.context() as patch:
        patch.setattr(deployed, "_SIZE_LIMIT_BYTES", 2**16)
        np.savez_compressed(path, **{"layer00.weight": np.zeros(2**16, np.int8)})
        assert path.stat().st_size < 1000
        with pytest.raises(ContractViolation, match="no network of this kind more"):
            deployed.load(path, (8, 8, 2))
    with zipfile.ZipFile(path, "w") as archive, archive.open("layer00.weight.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "|i1", "fortran_order": False, "shape": (2**45,)}
        )
    with pytest.raises(ContractViolation, match="something else than arrays"):
        deployed.load(path, (8, 8, 2))
    np.savez(path, **{"layerX.kind": np.array("conv")})
    with pytest.raises(ContractViolation, match="not of the form"):
        deployed.load(path, (8, 8, 2))
