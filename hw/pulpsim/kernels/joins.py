"""Where branches of a graph meet: sums of codes and of FP32 maps, and the largest code of a window.

`i7w_add` is the contract's add, two multipliers and 64 bits a sum, for shifts of 1 to 31 behind
which the value has 32 bits (as in `integer_wide`). All are designs without RTL rows.
"""

from pathlib import Path

from pulpsim.kernels.elements import elements_shape, steps, words
from pulpsim.kernels.record import (
    LEAF,
    RESTORES_RA,
    ClosedForm,
    Kernel,
    Mix,
    Numbers,
    Spent,
    Work,
)
from pulpsim.kernels.shape import Buffer, Rule, Scalar, Shape

PROGRAM = Path(__file__).with_suffix(".s")
_MULH = 4  # cycles of a high product beyond its first


def _add(n: Numbers, hw: Numbers) -> Spent:
    return Spent(53 + n * (7 + 19 * hw), 0, 0, RESTORES_RA + 2 * _MULH * n * hw)


def _largest(n: Numbers, rows: Numbers, columns: Numbers, channels: Numbers) -> Spent:
    four, window = channels // 4, rows * columns
    instr = 18 + n * (5 + four * (7 + 3 * rows + 2 * window))
    return Spent(instr, n - 1 + n * (four - 1), LEAF, n * four * window)


def _plane(name: str, word: int) -> Buffer:
    return Buffer(name, word, lambda s: s.channels * s.hw)


def _vector(name: str, word: int) -> Buffer:
    return Buffer(name, word, lambda s: 4 * s.channels)


KERNELS = (
    Kernel(
        "i7w_add",
        PROGRAM,
        Shape("C{channels}_HW{hw}", "C32_HW16"),
        (
            _plane("a", 0),
            _plane("b", 1),
            _plane("y", 2),
            _vector("kappa", 8),
            _vector("kappa_b", 9),
            _vector("lam", 10),
            Scalar("hw", 4),
            Scalar("channels", 5),
            Scalar("shift", 11, 8),
        ),
        Work("channels", ("hw",)),
        ClosedForm(_add, Mix(1, 19, loads=(1, 1), stores=(1,), alu=8)),
        "C32_HW64",
        measured=False,
    ),
    Kernel(
        "i8_max",
        PROGRAM,
        # M pixels of an output row, from the padded rows of their windows, channels innermost.
        Shape(
            "M{pixels}_{rows}x{columns}s{stride}_C{channels}",
            "M8_3x3s2_C16",
            (Rule(lambda s: s.channels % 4 == 0, "C to be a multiple of 4"),),
            {"width": lambda s: (s.pixels - 1) * s.stride + s.columns},
        ),
        (
            Buffer("x", 0, lambda s: s.rows * s.width * s.channels),
            Buffer("y", 2, lambda s: s.pixels * s.channels),
            Scalar("rows", 3),
            Scalar("columns", 4),
            Scalar("channels", 5),
            Scalar("step", 8, lambda s: s.stride * s.channels),
            Scalar("row", 9, lambda s: s.width * s.channels),
        ),
        Work("pixels", ("rows", "columns", "channels")),
        ClosedForm(_largest, Mix(4, 2, loads=(1,), alu=3)),
        "M16_3x3s2_C32",
        measured=False,
    ),
    Kernel(
        "e11_add",
        PROGRAM,
        elements_shape(4),
        (words("a", 0), words("b", 1), words("y", 2)),
        Work("elements", granularity=4),
        ClosedForm(steps(16, 16, 4), Mix(4, 16, loads=(4, 4), stores=(4,), fp=4)),
        "n1024",
        measured=False,
    ),
)
