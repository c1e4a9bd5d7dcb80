r"""Programs of the simulated cores: a small assembler for the Xpulp subset that the kernels use.

The programs beside the records of `pulpsim.kernels` are the instruction sequences that were
measured on RTL. Notation: one or several instructions a line, separated by `;`; numeric local
labels (`1b`, `2f`); `kernel NAME` opens a program; `.macro NAME args` ... `.endm`, `.if \flag` ...
`.else` ... `.endif` and `.include "FILE"` (from the program's folder) work as in GNU as.
`li s0-s3,0` and `p.sw s0-s3,4(a2!)` stand for one instruction per register; without post-increment
(`lw s0-s3,0(sp)`) the offset grows by 4 per register.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from pulpsim.kernels import Kernel

_NAMES = (
    "zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 "
    "t3 t4 t5 t6"
)
REGISTERS = tuple(_NAMES.split())
NUMBER = {name: number for number, name in enumerate(REGISTERS)}
_SAVED = tuple(f"s{number}" for number in range(12))

LOADS = frozenset({"lw", "lbu"})
STORES = frozenset({"sw", "sb"})
BRANCHES = frozenset({"beqz", "bnez", "bne", "bge", "blt"})
ACCUMULATING = frozenset({"pv.sdotsp.b", "pv.sdotusp.b", "p.insert", "p.mac"})
FLOATING = frozenset(
    {"fadd.s", "fsub.s", "fmul.s", "fmadd.s", "fmsub.s", "fnmsub.s", "fmax.s", "fcvt.s.w"}
)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One machine instruction.

    Attributes:
        op: Mnemonic without the `p.` of post-incrementing accesses.
        rd: Register that it writes, -1 for none (the base of a post-increment is extra).
        sources: Registers that it reads.
        imm: Immediates; of a memory access its offset or increment.
        base: Register of the address, -1 where memory is not touched.
        increment: Register added to the base after the access, -1 for the immediate.
        post: Whether the base moves after the access.
        target: Index of the branch's destination, or of the last instruction of a hardware loop.
    """

    op: str
    rd: int = -1
    sources: tuple[int, ...] = ()
    imm: tuple[int, ...] = ()
    base: int = -1
    increment: int = -1
    post: bool = False
    target: int = -1


Program = tuple[Instruction, ...]


def program(kernel: Kernel) -> Program:
    """A kernel's instructions.

    Raises:
        ValueError: Its file cannot be read, does not assemble, or has no part of this name.
    """
    parts = _assembled(kernel.program)
    if kernel.name not in parts:
        raise ValueError(
            f"{kernel.program.name} has no line 'kernel {kernel.name}'; add the program"
        )
    return parts[kernel.name]


@functools.cache
def _assembled(path: Path) -> dict[str, Program]:
    return assemble(_text(path))


def _text(path: Path) -> str:
    """A file with the files that it includes."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"the program {path} cannot be read: {error.strerror}") from error
    found = []
    for line in lines:
        included = re.match(r'\s*\.include "(.+)"', line)
        found.append(_text(path.parent / included.group(1)) if included else line)
    return "\n".join(found)


def assemble(text: str) -> dict[str, Program]:
    """Assembles a text with one or more `kernel NAME` parts.

    Raises:
        ValueError: A line is not understood; the message has the line.
    """
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    macros: dict[str, tuple[list[str], list[str]]] = {}
    lines = _without_macros([line for line in lines if line], macros)
    found: dict[str, list[str]] = {}
    body: list[str] = []
    for line in _expand(lines, macros):
        if line.startswith("kernel "):
            body = found.setdefault(line.split()[1], [])
        else:
            body.append(line)
    return {name: _link(lines) for name, lines in found.items()}


def _without_macros(lines: list[str], macros: dict[str, tuple[list[str], list[str]]]) -> list[str]:
    """Moves the macros out of the text, so that one may be used before its definition."""
    rest, position = [], 0
    while position < len(lines):
        word, *names = re.split(r"[ ,]+", lines[position])
        end = lines.index(".endm", position) if word == ".macro" else position
        if word == ".macro":
            macros[names[0]] = (names[1:], lines[position + 1 : end])
        else:
            rest.append(lines[position])
        position = end + 1
    return rest


def _expand(lines: list[str], macros: dict[str, tuple[list[str], list[str]]]) -> Iterator[str]:
    """Instructions one by one, macros and conditions resolved, labels as `1:` of their own."""
    keep = [True]
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == ".if":
            keep.append(keep[-1] and _number(rest) != 0)
        elif word == ".else":
            keep[-1] = keep[-2] and not keep[-1]
        elif word == ".endif":
            keep.pop()
        elif keep[-1]:
            yield from _line(line, macros)


def _line(line: str, macros: dict[str, tuple[list[str], list[str]]]) -> Iterator[str]:
    label = re.match(r"(\d+):\s*", line)
    if label:
        yield label.group(1) + ":"
        line = line[label.end() :]
    for part in filter(None, (part.strip() for part in line.split(";"))):
        word, _, rest = part.partition(" ")
        if word not in macros:
            yield from _ranges(part)
            continue
        names, body = macros[word]
        values = [value.strip() for value in rest.split(",")]
        # Long names first: \a10 must not be taken for \a1.
        pairs = sorted(zip(names, values, strict=False), key=lambda pair: -len(pair[0]))
        filled = []
        for text in body:
            for name, value in pairs:
                text = text.replace("\\" + name, value)
            filled.append(text)
        yield from _expand(filled, macros)


def _ranges(part: str) -> Iterator[str]:
    """`li s0-s3,0` to one instruction per register."""
    found = re.match(r"(\S+) (s\d+)-(s\d+),(.*)$", part)
    if not found:
        yield part
        return
    op, first, last, rest = found.groups()
    chosen = _SAVED[_SAVED.index(first) : _SAVED.index(last) + 1]
    offset = re.match(r"(-?\d+)\((\w+)\)$", rest)
    for index, register in enumerate(chosen):
        if offset:
            rest = f"{int(offset.group(1)) + 4 * index}({offset.group(2)})"
        yield f"{op} {register},{rest}"


def _link(lines: list[str]) -> Program:
    """Numbers the instructions and resolves the labels."""
    labels: list[tuple[str, int]] = []
    parsed: list[tuple[Instruction, str]] = []
    for line in lines:
        if line.endswith(":"):
            labels.append((line[:-1], len(parsed)))
        else:
            parsed.extend(_parse(line))
    linked = []
    for index, (instruction, label) in enumerate(parsed):
        if label:
            places = [place for name, place in labels if name == label[:-1]]
            if label.endswith("f"):
                target = min(place for place in places if place > index)
            else:
                target = max(place for place in places if place <= index)
            instruction = dataclasses.replace(instruction, target=target)
        linked.append(instruction)
    return tuple(linked)


def _number(text: str) -> int:
    """An immediate: a number or a sum, product or shift of numbers."""
    if not re.fullmatch(r"[0-9a-fA-FxX+\-*<>=() ]+", text):
        raise ValueError(f"{text!r} is not a number")
    return int(eval(text, {"__builtins__": {}}))


def _parse(line: str) -> list[tuple[Instruction, str]]:
    """One line to instructions and the label each refers to."""
    op, _, rest = line.partition(" ")
    words = [word.strip() for word in rest.split(",")] if rest else []
    try:
        if op in ("p.lw", "p.lbu", "p.sw", "p.sb", "lw", "lbu", "sw", "sb"):
            return [(_memory(op.removeprefix("p."), words), "")]
        if op == "li":
            return [(instruction, "") for instruction in _li(NUMBER[words[0]], _number(words[1]))]
        if op in BRANCHES:
            return [(Instruction(op, sources=tuple(NUMBER[r] for r in words[:-1])), words[-1])]
        if op in ("lp.setup", "lp.setupi"):
            level = int(words[0][1:])
            if op == "lp.setupi":
                return [(Instruction(op, imm=(level, _number(words[1]))), words[2])]
            return [(Instruction(op, sources=(NUMBER[words[1]],), imm=(level,)), words[2])]
        if op == "j":
            return [(Instruction(op), words[0])]
        if op == "ret":
            return [(Instruction(op, sources=(NUMBER["ra"],)), "")]
        if op == "nop":
            return [(Instruction(op), "")]
        registers = [NUMBER[word] for word in words if word in NUMBER]
        imm = tuple(_number(word) for word in words if word not in NUMBER)
        if op == "p.insert":  # from the high bit and the low bit, as the programs write it
            imm = (imm[0], imm[1])
        sources = registers[1:] + ([registers[0]] if op in ACCUMULATING else [])
        return [(Instruction(op, registers[0], tuple(sources), imm), "")]
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"cannot assemble {line!r}: {error}") from None


def _memory(op: str, words: list[str]) -> Instruction:
    found = re.match(r"(.+)\((\w+)(!?)\)$", words[1])
    if not found:
        raise ValueError(f"cannot assemble the address {words[1]!r}")
    offset, base, post = found.groups()
    moving = NUMBER.get(offset, -1)
    imm = () if moving >= 0 else (_number(offset),)
    value, address = NUMBER[words[0]], NUMBER[base]
    reads = (address,) + ((moving,) if moving >= 0 else ()) + ((value,) if op in STORES else ())
    rd = value if op in LOADS else -1
    return Instruction(op, rd, reads, imm, address, moving, post == "!")


def _li(rd: int, value: int) -> list[Instruction]:
    """A constant takes two instructions where it has both high and low bits."""
    value = (value + 2**31) % 2**32 - 2**31
    if -2048 <= value < 2048:
        return [Instruction("addi", rd, (0,), (value,))]
    low = (value + 2048) % 4096 - 2048
    high = Instruction("lui", rd, (), (((value - low) >> 12) & 0xFFFFF,))
    return [high] if low == 0 else [high, Instruction("addi", rd, (rd,), (low,))]
