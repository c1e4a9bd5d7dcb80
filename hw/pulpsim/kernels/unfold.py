"""Columns of codes for convolutions of any window, which then are products.

A window's rows are copied as whole words, so a column has 4 * words bytes a row; weights are zero
where a row has more than its taps. A design without RTL rows.
"""

from pathlib import Path

from pulpsim.kernels.record import LEAF, ClosedForm, Kernel, Mix, Numbers, Spent, Work
from pulpsim.kernels.shape import Buffer, Scalar, Shape


def _spent(n: Numbers, rows: Numbers, words: Numbers, step: Numbers) -> Spent:
    # Where pixels lie 4 bytes apart rows are aligned, else two or three of four words are not.
    late = 1.0 - 1.0 / ((step % 2 > 0) * 4 + (step % 4 == 2) * 2 + (step % 4 == 0) * 1)
    copied = rows * words
    return Spent(19 + n * (5 + 3 * rows + 2 * copied), n - 1, LEAF, n * copied * (1 + late))


KERNELS = (
    Kernel(
        "i6_im2row",
        Path(__file__).with_suffix(".s"),
        Shape(
            "M{pixels}_R{rows}x{words}_S{step}",
            "M16_R3x12_S16",
            derived={"row": lambda s: -(-(s.step * (s.pixels - 1) + 4 * s.words) // 4) * 4},
        ),
        (
            Buffer("x", 0, lambda s: s.rows * s.row),
            Buffer("columns", 2, lambda s: 4 * s.rows * s.words * s.pixels),
            Scalar("rows", 3),
            Scalar("words", 4),
            Scalar("step", 5),
            Scalar("row", 8),
        ),
        Work("pixels", ("rows", "words", "step"), lambda n, rows, words, step: n * rows * words),
        ClosedForm(_spent, Mix(1, 2, loads=(1,), stores=(1,))),
        "M32_R3x12_S16",
        measured=False,
    ),
)
