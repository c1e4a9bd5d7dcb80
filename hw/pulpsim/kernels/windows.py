"""Depthwise 5x5 layers: forward, both gradients in FP32, and codes; strides 1 and 2.

The FP32 programs walk rows: five taps of a row of the window in registers, a row of outputs (or of
gradients) read and written beside them, five times. `d5_igrad` scatters into a padded plane, whose
border nobody reads; `d5a_wgrad` adds to the gradients of earlier samples. Words 0 and 2 are the
padded plane and the plane of outputs, whichever of them a program writes. `i5w_dw` requantizes in
64 bits as `integer_wide` does. All are designs without RTL rows.
"""

from collections.abc import Callable
from pathlib import Path

from pulpsim.kernels.depthwise import LIKE, ODD, PLANES, at_least
from pulpsim.kernels.record import RESTORES_RA, ClosedForm, Kernel, Mix, Numbers, Spent, Work
from pulpsim.kernels.shape import Argument, Buffer, Scalar, Shape, Sizes

PROGRAM = Path(__file__).with_suffix(".s")
_MULH = 4  # cycles of a high product beyond its first
_LEAST = (5, 5)


def outputs(size: Numbers, stride: int) -> Numbers:
    """Of a padded side of so many pixels."""
    return (size - 5) // stride + 1


def _macs(stride: int) -> Callable[..., Numbers]:
    def amount(channels: Numbers, hin: Numbers, win: Numbers) -> Numbers:
        return 25 * channels * outputs(hin, stride) * outputs(win, stride)

    return amount


def _walk(stride: int, body: int, row: int, zeroed: str) -> Callable[..., Spent]:
    """`body` instructions an output and row of taps, `row` around them."""

    def spent(n: Numbers, hin: Numbers, win: Numbers) -> Spent:
        hout, wout = outputs(hin, stride), outputs(win, stride)
        words = {"outputs": hout * wout, "inputs": hin * win}.get(zeroed, 0)
        zeroing = 2 + 2 * words if zeroed else 0
        each = 9 + zeroing + hout * (6 + stride + 5 * (row + body * wout))
        return Spent(59 + n * each, n - 1 + n * (hout - 1), 0, RESTORES_RA)

    return spent


def _codes(stride: int) -> Callable[..., Spent]:
    def spent(n: Numbers, hin: Numbers, win: Numbers) -> Spent:
        hout, wout = outputs(hin, stride), outputs(win, stride)
        # Every byte address of a row occurs: three of four words are misaligned.
        late = (7.5 + _MULH) * hout * wout
        each = 18 + hout * (2 + stride + 32 * wout)
        return Spent(69 + n * each, n - 1, 0, RESTORES_RA + n * late)

    return spent


def _floats(stride: int) -> tuple[Argument, ...]:
    def plane(s: Sizes) -> int:
        return 4 * s.channels * outputs(s.hin, stride) * outputs(s.win, stride)

    return (
        Buffer("x", 0, lambda s: 4 * s.channels * s.hin * s.win),
        Buffer("w", 1, lambda s: 100 * s.channels),
        Buffer("y", 2, plane),
        Scalar("hin", 3),
        Scalar("win", 4),
        Scalar("channels", 5),
    )


def _bytes(stride: int) -> tuple[Argument, ...]:
    def plane(s: Sizes) -> int:
        return s.channels * outputs(s.hin, stride) * outputs(s.win, stride)

    return (
        Buffer("x", 0, lambda s: s.channels * s.hin * s.win + 4),
        Buffer("w", 1, lambda s: 40 * s.channels),  # rows of five, and three zeros
        Buffer("y", 2, plane),
        Buffer("kappa", 8, lambda s: 4 * s.channels),
        Buffer("lam", 9, lambda s: 4 * s.channels),
        Scalar("shift", 10, 8),
        Scalar("hin", 3),
        Scalar("win", 4),
        Scalar("channels", 5),
    )


def _record(
    name: str, stride: int, arguments: tuple[Argument, ...], spent: Callable[..., Spent], mix: Mix
) -> Kernel:
    rules = (at_least(*_LEAST),) if stride == 1 else (ODD, at_least(*_LEAST))
    return Kernel(
        name,
        PROGRAM,
        Shape(PLANES, LIKE, rules),
        arguments,
        Work("channels", ("hin", "win"), _macs(stride), least=_LEAST),
        ClosedForm(spent, mix),
        "C16_12x12" if stride == 1 else "C16_11x11",
        measured=False,
    )


_FORWARD = Mix(5, 12, loads=(5, 1), stores=(1,), fma=5)
_INPUT = Mix(5, 16, loads=(5, 1), stores=(5,), fma=5)
_WEIGHTS = Mix(5, 11, loads=(5, 1), fma=5)
_CODES = Mix(25, 32, loads=(2,) * 5, stores=(1,), alu=60)

KERNELS = tuple(
    kernel
    for stride, s in ((1, ""), (2, "s"))
    for kernel in (
        _record(f"d5{s}_fwd", stride, _floats(stride), _walk(stride, 12, 9, "outputs"), _FORWARD),
        _record(f"d5{s}_igrad", stride, _floats(stride), _walk(stride, 16, 9, "inputs"), _INPUT),
        _record(f"d5{s}a_wgrad", stride, _floats(stride), _walk(stride, 11, 14, ""), _WEIGHTS),
        _record(f"i5{s}w_dw", stride, _bytes(stride), _codes(stride), _CODES),
    )
)
