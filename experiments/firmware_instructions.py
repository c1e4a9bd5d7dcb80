"""Instructions and cycles per multiply-accumulate of the firmware's kernels on a Cortex-M4F.

Source: CMSIS-NN takes 1.8 instructions (1x1, 128 to 128 channels, 8x8) and 8.3 (3x3 depthwise)
under the same compiler. The exported firmware, built by arm-none-eabi-gcc -O3, runs in an emulator
(unicorn) that counts its instructions; every result is compared with NumPy. Cycles by Arm's
published instruction timing without wait states (`tests/support/cortex_m4.py`), not measured;
beside them `pulpsim`'s Cortex-M4F, which is VEGA's loops in that timing.

    make firmware-test    # once: the compiler and the emulator
    PYTHONPATH=tests .venv/bin/python experiments/firmware_instructions.py

Expected: 1x1 1.6, depthwise 5.1, first convolution 2.3, FP32 2.5 to 2.7 instructions; 20 seconds.
"""

import dataclasses
import struct
import subprocess
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from pulpsim import kernels
from pulpsim.cost import cortex, platform
from support import firmware, oracle
from support.cortex_m4 import CortexM4

from qlrjax.export.firmware import tables
from qlrjax.integer.frozen import IntegerKind, IntegerLayer

KINDS = ("conv", "depthwise", "pointwise")


@dataclasses.dataclass(frozen=True)
class Row:
    """A kernel on a shape."""

    what: str
    instructions: float
    cycles: float
    target: str = ""
    model: tuple[str, str] | None = None

    @property
    def model_cycles(self) -> str:
        """What the simulated Cortex-M4F takes for the kernel and shape of `model`."""
        if self.model is None:
            return ""
        record, timing = kernels.find(self.model[0]), platform.load("stm32l4").cortex_m4f
        assert timing is not None
        items, dims = record.arguments_of(self.model[1])
        cycles = cortex.tile_cycles(record, items, dims, timing)
        return f"{cycles / record.work.amount(items, *dims):.2f}"


@dataclasses.dataclass(frozen=True)
class Case:
    """An integer layer: square kernel, both paddings equal."""

    kind: IntegerKind
    size: int
    inputs: int
    outputs: int
    stride: int = 1
    target: str = ""


CASES = (
    Case("pointwise", 8, 128, 128, target="1.8"),
    Case("pointwise", 16, 32, 64),
    Case("pointwise", 3, 256, 256),
    Case("depthwise", 8, 128, 128, target="6"),
    Case("depthwise", 16, 64, 64, 2),
    Case("depthwise", 48, 8, 8),
    Case("conv", 97, 3, 32, 2, target="2.5"),
    Case("conv", 97, 3, 8, 2),
)
FLOATS = (
    ("qlr_multiply", "forward"),
    ("qlr_multiply_back", "input gradient"),
    ("qlr_multiply_outer", "weight gradient"),
)

MODELS = {
    "qlr_multiply": "p1_2x4",
    "qlr_multiply_back": "p3_2x4",
    "qlr_multiply_outer": "p2_2x4",
    "qlr_depthwise": "d1_col",
    "qlr_depthwise_back": "d3_col",
    "qlr_depthwise_outer": "d2a_wgrad",
}
DEPTHWISE = (
    ("qlr_depthwise", "forward"),
    ("qlr_depthwise_back", "input gradient"),
    ("qlr_depthwise_outer", "weight gradient"),
)


def main() -> None:
    """Prints the table."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        firmware.Twin(25, 6, size=(48, 48)).export(folder, "mps2-an386", 16)
        subprocess.run(["make", "-s", "-C", folder], check=True)
        elf = folder / "build/qlr.elf"
        rows = [integer_row(CortexM4(elf), random, case) for case in CASES]
        rows += [float_row(CortexM4(elf), random, *one) for one in FLOATS]
        rows += [depthwise_row(CortexM4(elf), random, *one) for one in DEPTHWISE]
    print("| kernel | at most | instructions a MAC | cycles a MAC | pulpsim's |")
    print("|---|--:|--:|--:|--:|")
    for row in rows:
        found = f"{row.instructions:.2f} | {row.cycles:.2f}"
        print(f"| {row.what} | {row.target} | {found} | {row.model_cycles} |")


def integer_row(machine: CortexM4, random: np.random.Generator, case: Case) -> Row:
    kernel, pad = (1, 0) if case.kind == "pointwise" else (3, 1)
    out = (case.size + 2 * pad - kernel) // case.stride + 1
    shapes = {
        "conv": (kernel, kernel, case.inputs, case.outputs),
        "depthwise": (kernel, kernel, case.inputs),
        "pointwise": (case.inputs, case.outputs),
    }
    layer = IntegerLayer(
        kind=case.kind,
        stride=case.stride,
        padding=((pad, pad), (pad, pad)),
        weight=random.integers(-127, 128, shapes[case.kind]).astype(np.int8),
        kappa=jnp.asarray(random.integers(1, 2**16, case.outputs), jnp.int32),
        lam=jnp.asarray(random.integers(-(2**20), 2**26, case.outputs), jnp.int32),
        shift=24,
        bits=8,
        pad_value=jnp.zeros(case.inputs, jnp.uint8),
    )
    images = random.integers(0, 256, (case.size, case.size, case.inputs)).astype(np.uint8)
    x, y = machine.place(images), machine.place(bytes(out * out * case.outputs))
    sizes = (case.size, case.size, case.inputs, out, out, case.outputs)
    scale = np.stack([np.asarray(layer.kappa), np.asarray(layer.lam)], axis=1)
    record = struct.pack(
        "<6B6HBBBxxxIII",
        KINDS.index(case.kind),
        kernel,
        kernel,
        case.stride,
        pad,
        pad,
        *sizes,
        24,
        255,
        int(tables.is_short(layer)),
        machine.place(tables.packed(layer)),
        machine.place(scale),
        machine.place(np.asarray(layer.pad_value)),
    )
    count = machine.call("qlr_frozen_layer_run", machine.place(record), x, y)
    wanted = oracle.apply_layer(layer, images[None])[0]
    np.testing.assert_array_equal(machine.read(y, wanted.astype(np.uint8)), wanted)
    macs = out * out * case.outputs * kernel * kernel
    macs *= 1 if case.kind == "depthwise" else case.inputs
    names = {"conv": "first convolution 3x3", "depthwise": "depthwise 3x3", "pointwise": "1x1"}
    what = f"int8 {names[case.kind]}, {case.inputs} to {case.outputs}, {case.size}x{case.size}"
    what += f", stride {case.stride}" if case.stride > 1 else ""
    model = None
    if case.kind == "pointwise":
        model = ("i1_4x2", f"{case.outputs}x{case.inputs}x{out * out}")
    elif case.kind == "depthwise" and case.stride == 1:
        model = ("i2_dw", f"C{case.inputs}_{case.size + 2}x{case.size + 2}")
    return Row(what, count.instructions / macs, count.cycles / macs, case.target, model)


def float_row(machine: CortexM4, random: np.random.Generator, name: str, what: str) -> Row:
    """64 pixels, 128 to 128 channels."""
    rows, channels = 64, 128
    one = random.normal(0, 1, (rows, channels)).astype(np.float32)
    shape = (rows, channels) if name == "qlr_multiply_outer" else (channels, channels)
    other = random.normal(0, 1, shape).astype(np.float32)
    products = {
        "qlr_multiply": lambda: one @ other,
        "qlr_multiply_back": lambda: one @ other.T,
        "qlr_multiply_outer": lambda: one.T @ other,
    }
    wanted = products[name]()
    places = [machine.place(one), machine.place(other), machine.place(np.zeros_like(wanted))]
    count = machine.call(name, *places, rows, channels, channels)
    np.testing.assert_allclose(machine.read(places[2], wanted), wanted, rtol=1e-3, atol=1e-3)
    macs = rows * channels * channels
    what = f"FP32 1x1 {what}, 128 to 128, 64 pixels"
    model = (
        MODELS[name],
        f"{len(wanted)}x{rows if len(wanted) == channels else channels}x{channels}",
    )
    return Row(what, count.instructions / macs, count.cycles / macs, "2.7", model)


def depthwise_row(machine: CortexM4, random: np.random.Generator, name: str, what: str) -> Row:
    """3x3 over 8x8 pixels of 128 channels; taps in the padding are no work."""
    size, channels = 8, 128
    x, g = (random.normal(0, 1, (size, size, channels)).astype(np.float32) for _ in range(2))
    weight = random.normal(0, 1, (3, 3, channels)).astype(np.float32)
    forward, back = np.zeros_like(x), np.zeros((size + 2, size + 2, channels), np.float32)
    outer, padded = np.zeros_like(weight), np.pad(x, ((1, 1), (1, 1), (0, 0)))
    for ky, kx in np.ndindex(3, 3):
        window = (slice(ky, ky + size), slice(kx, kx + size))
        forward += padded[window] * weight[ky, kx]
        back[window] += g * weight[ky, kx]
        outer[ky, kx] = (padded[window] * g).sum((0, 1))
    operands, wanted = {
        "qlr_depthwise": ((x, weight), forward),
        "qlr_depthwise_back": ((g, weight), back[1:-1, 1:-1]),
        "qlr_depthwise_outer": ((x, g), outer),
    }[name]
    shape = struct.pack("<6B6H", 1, 3, 3, 1, 1, 1, size, size, channels, size, size, channels)
    to = machine.place(np.zeros_like(wanted))
    count = machine.call(name, machine.place(shape), *map(machine.place, operands), to)
    np.testing.assert_allclose(machine.read(to, wanted), wanted, rtol=1e-3, atol=1e-3)
    macs = (3 * size - 2) ** 2 * channels
    what = f"FP32 depthwise 3x3 {what}, 128 channels, 8x8"
    model = (MODELS[name], f"C{channels}_{size + 2}x{size + 2}")
    return Row(what, count.instructions / macs, count.cycles / macs, model=model)


if __name__ == "__main__":
    main()
