"""Per channel: batch normalization forward and backward, global average pooling."""

from collections.abc import Callable
from pathlib import Path

from pulpsim.kernels.record import LEAF, ClosedForm, Kernel, Mix, Numbers, Spent, Work
from pulpsim.kernels.shape import Argument, Buffer, Rule, Scalar, Shape

_SHAPE = Shape(
    "C{channels}_HW{hw}", "C32_HW16", (Rule(lambda s: s.hw % 4 == 0, "HW to be a multiple of 4"),)
)


def _plane(name: str, word: int) -> Buffer:
    return Buffer(name, word, lambda s: 4 * s.channels * s.hw)


def _vector(name: str, word: int) -> Buffer:
    return Buffer(name, word, lambda s: 4 * s.channels)


def _spent(base: int, per_channel: int, per_pixel: int) -> Callable[..., Spent]:
    def spent(n: Numbers, hw: Numbers) -> Spent:
        return Spent(base + n * (per_channel + per_pixel * hw), 0, LEAF)

    return spent


def _kernel(
    name: str, arguments: tuple[Argument, ...], form: ClosedForm, reference: str = "C32_HW64"
) -> Kernel:
    return Kernel(
        name,
        Path(__file__).with_suffix(".s"),
        _SHAPE,
        (*arguments, Scalar("hw", 4), Scalar("channels", 5)),
        Work("channels", ("hw",)),
        form,
        reference,
    )


KERNELS = (
    _kernel(
        "e4_bn",
        (_plane("x", 0), _vector("scale", 1), _plane("y", 2), _vector("shift", 3)),
        ClosedForm(_spent(20, 5, 3), Mix(4, 12, loads=(4,), stores=(4,), fma=4)),
    ),
    _kernel(
        "e5_stat",
        (_plane("x", 0), _vector("sum", 1), _vector("squares", 2)),
        ClosedForm(_spent(18, 5, 3), Mix(4, 12, loads=(4,), fma=4, fp=4)),
    ),
    _kernel(
        "e6a_bnsum",
        (_plane("dy", 0), _vector("first", 1), _vector("second", 2), _plane("xhat", 3)),
        ClosedForm(_spent(20, 5, 4), Mix(4, 16, loads=(4, 4), fma=4, fp=4)),
    ),
    _kernel(
        "e6b_bnbwd",
        (
            _plane("dy", 0),
            _vector("first", 1),
            _plane("dx", 2),
            _plane("xhat", 3),
            _vector("second", 8),
            _vector("scale", 9),
            Scalar("inverse", 10, 0.125),
        ),
        ClosedForm(_spent(41, 9, 5), Mix(4, 20, loads=(4, 4), stores=(4,), fma=8, fp=4)),
    ),
    _kernel(
        "e7_gapf",
        (_plane("x", 0), _vector("mean", 2), Scalar("inverse", 3, 0.125)),
        ClosedForm(_spent(17, 6, 2), Mix(4, 8, loads=(4,), fp=4)),
        "C64_HW16",
    ),
    _kernel(
        "e7_gapb",
        (_vector("dy", 0), _plane("dx", 2), Scalar("inverse", 3, 0.125)),
        ClosedForm(_spent(17, 6, 1), Mix(4, 4, stores=(4,))),
        "C64_HW16",
    ),
)
