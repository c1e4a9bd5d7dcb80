"""Arithmetic of the cores, one function of the registers per instruction.

Integers are 32-bit patterns held as Python ints. Floating-point operations round as IEEE single
precision and fuse multiply-add; they are exact here because a product of two float32 and a sum fit
the extra bits of the wider types used, up to double rounding, which tests allow for.
"""

import struct
from collections.abc import Callable

from pulpsim.cluster.assembler import FLOATING, Instruction

Registers = list[int]
Effect = Callable[[Registers], int]


def effect(instruction: Instruction, values: bool) -> Effect | None:
    """What an instruction writes to rd, as a function of the registers.

    Args:
        instruction: Any instruction.
        values: Whether to compute floating-point results; 0 is written otherwise.

    Returns:
        The function, or None where nothing is computed (accesses, branches, nop).
    """
    op = instruction.op
    if op in FLOATING:
        return _floating(instruction) if values else lambda registers: 0
    if op in _INTEGER:
        return _integer(_INTEGER[op], instruction)
    return None


def _integer(function: Callable[..., int], instruction: Instruction) -> Effect:
    sources, imm = instruction.sources, instruction.imm
    if len(sources) == 1:
        only = sources[0]
        return lambda registers: function(registers[only], *imm)
    if len(sources) == 2:
        first, second = sources
        return lambda registers: function(registers[first], registers[second], *imm)
    return lambda registers: function(*(registers[source] for source in sources), *imm)


def _signed(value: int, bits: int = 32) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _bytes(value: int, signed: bool) -> list[int]:
    parts = [(value >> shift) & 0xFF for shift in (0, 8, 16, 24)]
    return [_signed(part, 8) for part in parts] if signed else parts


def _dot(first_signed: bool, second_signed: bool) -> Callable[..., int]:
    def dot(first: int, second: int, accumulator: int = 0) -> int:
        pairs = zip(_bytes(first, first_signed), _bytes(second, second_signed), strict=True)
        return accumulator + sum(a * b for a, b in pairs)

    return dot


def _insert(value: int, into: int, width: int, place: int) -> int:
    mask = ((1 << (width + 1)) - 1) << place
    return (into & ~mask) | ((value << place) & mask)


def _largest_bytes(first: int, second: int) -> int:
    pairs = zip(_bytes(first, False), _bytes(second, False), strict=True)
    return sum(max(pair) << (8 * n) for n, pair in enumerate(pairs))


def _each_byte_right(value: int, shift: int) -> int:
    return sum((part >> shift) << (8 * n) for n, part in enumerate(_bytes(value, False)))


_INTEGER: dict[str, Callable[..., int]] = {
    "addi": lambda a, imm: a + imm,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mv": lambda a: a,
    "lui": lambda imm: imm << 12,
    "mul": lambda a, b: a * b,
    "mulh": lambda a, b: (_signed(a) * _signed(b)) >> 32,
    "p.muluRN": lambda a, b, shift: ((a & 0xFFFF) * (b & 0xFFFF) + (1 << shift >> 1)) >> shift,
    "sll": lambda a, b: a << (b & 31),
    "slli": lambda a, imm: a << imm,
    "srli": lambda a, imm: a >> imm,
    "srl": lambda a, b: a >> (b & 31),
    "sra": lambda a, b: _signed(a) >> (b & 31),
    "srai": lambda a, imm: _signed(a) >> imm,
    "andi": lambda a, imm: a & imm,
    "ori": lambda a, imm: a | imm,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "sltu": lambda a, b: int(a < b),
    "p.max": lambda a, b: max(_signed(a), _signed(b)),
    "p.min": lambda a, b: min(_signed(a), _signed(b)),
    "p.minu": lambda a, b: min(a, b),
    "p.clipu": lambda a, bits: min(max(_signed(a), 0), (1 << (bits - 1)) - 1),
    "p.extractu": lambda a, width, place: (a >> place) & ((1 << (width + 1)) - 1),
    "p.insert": _insert,
    "pv.srl.sci.b": _each_byte_right,
    "pv.maxu.b": _largest_bytes,
    "pv.sdotsp.b": _dot(True, True),
    "pv.sdotusp.b": _dot(False, True),
    "pv.dotusp.b": _dot(False, True),
    "pv.dotup.b": _dot(False, False),
}


def _float(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def _bits(value: float) -> int:
    return struct.unpack("<I", struct.pack("<f", value))[0]


# Products of two float32 are exact in Python's doubles, so only the sum rounds once more.
_FLOATING: dict[str, Callable[..., float]] = {
    "fadd.s": lambda a, b: a + b,
    "fsub.s": lambda a, b: a - b,
    "fmul.s": lambda a, b: a * b,
    "fmax.s": max,
    "fmadd.s": lambda a, b, c: a * b + c,
    "fmsub.s": lambda a, b, c: a * b - c,
    "fnmsub.s": lambda a, b, c: c - a * b,
}


def _floating(instruction: Instruction) -> Effect:
    sources = instruction.sources
    if instruction.op == "fcvt.s.w":
        return lambda registers: _bits(float(_signed(registers[sources[0]])))
    function = _FLOATING[instruction.op]
    return lambda registers: _bits(function(*(_float(registers[source]) for source in sources)))
