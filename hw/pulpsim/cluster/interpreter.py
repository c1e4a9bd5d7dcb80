"""What a core issues: a program run in order, instruction by instruction.

`interpret` carries out an assembled program on one core. It gives the instructions in the order of
issue with the address of every access. Control flow of the kernels depends on shapes alone, so it
can leave out the values (`values=False`) and repeat innermost hardware loops as whole arrays:
addresses in a loop move by a constant per iteration, which the last iteration, interpreted again,
confirms. With `values=True` loads, stores and arithmetic are carried out as the cores do, which
tests use to check the programs against the values of the kernels.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from pulpsim.cluster import alu
from pulpsim.cluster.assembler import BRANCHES, LOADS, NUMBER, Instruction, Program
from pulpsim.kernels.shape import PERIPHERALS

WORD = 0xFFFFFFFF
_MANY = 4  # iterations from which a loop is repeated as arrays


@dataclasses.dataclass(frozen=True)
class Issued:
    """Instructions of one core in the order of issue.

    Attributes:
        places: Index into the program.
        addresses: Byte address of the access, -1 for none.
    """

    places: Int[np.ndarray, " n"]
    addresses: Int[np.ndarray, " n"]


class Memory:
    """Bytes of L1, little-endian, from a base address."""

    def __init__(self, base: int, size: int):
        self.base = base
        self.data = bytearray(size)

    def load(self, address: int, size: int) -> int:
        """Unsigned value of `size` bytes; 0 from a peripheral."""
        if address >= PERIPHERALS:
            return 0
        start = self._place(address, size)
        return int.from_bytes(self.data[start : start + size], "little")

    def store(self, address: int, size: int, value: int) -> None:
        """Writes the low `size` bytes of a value; a peripheral takes them."""
        if address >= PERIPHERALS:
            return
        start = self._place(address, size)
        self.data[start : start + size] = (value & WORD).to_bytes(4, "little")[:size]

    def write(self, address: int, values: np.ndarray) -> None:
        """Writes an array as it lies in memory."""
        raw = np.ascontiguousarray(values).tobytes()
        start = self._place(address, len(raw))
        self.data[start : start + len(raw)] = raw

    def read(self, address: int, like: np.ndarray) -> np.ndarray:
        """Array of the type and shape of `like` at an address."""
        start = self._place(address, like.nbytes)
        return np.frombuffer(bytes(self.data[start : start + like.nbytes]), like.dtype).reshape(
            like.shape
        )

    def _place(self, address: int, size: int) -> int:
        start = address - self.base
        if not 0 <= start <= len(self.data) - size:
            raise IndexError(f"a program touched address {address:#x}, outside L1")
        return start


def interpret(
    program: Program, memory: Memory, argument: int, stack: int, *, values: bool = False
) -> Issued:
    """Carries out a program on one core until it returns.

    Args:
        program: From `assembler.program`.
        memory: L1 with the argument words; written to.
        argument: Address of the argument words, in a0 at entry.
        stack: Stack pointer at entry.
        values: Whether to compute values; needed only to look at results.

    Returns:
        The instructions that it issued.

    Raises:
        ValueError: A hardware loop starts with count 0, which the cores run once.
    """
    return _Core(program, memory, argument, stack, values).interpret()


class _Core:
    """Registers, hardware loops and what was issued so far."""

    def __init__(self, program: Program, memory: Memory, argument: int, stack: int, values: bool):
        self.program = program
        self.memory = memory
        self.values = values
        self.registers = [0] * 32
        self.registers[NUMBER["a0"]] = argument
        self.registers[NUMBER["sp"]] = stack
        self.loops: list[list[int]] = [[0, -1, 0], [0, -1, 0]]  # start, end, left
        self.places: list[int] = []
        self.addresses: list[int] = []
        self.chunks: list[tuple[np.ndarray, np.ndarray]] = []
        self.effects = [alu.effect(instruction, values) for instruction in program]

    def interpret(self) -> Issued:
        place = 0
        while place >= 0:
            instruction = self.program[place]
            if instruction.op.startswith("lp."):
                place = self._loop(place, instruction)
            else:
                place = self._one(place, instruction)
        self._flush()
        places, addresses = zip(*self.chunks, strict=True)
        return Issued(np.concatenate(places), np.concatenate(addresses))

    def _flush(self) -> None:
        self.chunks.append((np.array(self.places, np.int32), np.array(self.addresses, np.int64)))
        self.places, self.addresses = [], []

    def _one(self, place: int, instruction: Instruction) -> int:
        """Executes an instruction and returns the place of the next, -1 after the return."""
        op = instruction.op
        self.places.append(place)
        if instruction.base >= 0:
            self.addresses.append(self._access(instruction))
        else:
            self.addresses.append(-1)
            if op in BRANCHES:
                return instruction.target if self._taken(instruction) else place + 1
            if op == "j":
                return instruction.target
            if op == "ret":
                return -1
            effect = self.effects[place]
            if effect is not None and instruction.rd > 0:
                self.registers[instruction.rd] = effect(self.registers) & WORD
        for loop in self.loops:
            if place == loop[1] and loop[2] > 1:
                loop[2] -= 1
                return loop[0]
        return place + 1

    def _access(self, instruction: Instruction) -> int:
        registers = self.registers
        address = registers[instruction.base]
        moved = (
            registers[instruction.increment] if instruction.increment >= 0 else instruction.imm[0]
        )
        if not instruction.post:
            address = (address + moved) & WORD
        size = 4 if instruction.op in ("lw", "sw") else 1
        if instruction.op in LOADS:
            registers[instruction.rd] = self.memory.load(address, size)
        else:
            self.memory.store(address, size, registers[instruction.sources[-1]])
        if instruction.post:
            registers[instruction.base] = (registers[instruction.base] + moved) & WORD
        return address

    def _taken(self, instruction: Instruction) -> bool:
        values = [_signed(self.registers[source]) for source in instruction.sources]
        first, second = values[0], (values[1] if len(values) > 1 else 0)
        match instruction.op:
            case "beqz":
                return first == 0
            case "bnez" | "bne":
                return first != second
            case "bge":
                return first >= second
            case _:
                return first < second

    def _loop(self, place: int, instruction: Instruction) -> int:
        """Sets up a hardware loop; runs all of a straight innermost one at once."""
        self.places.append(place)
        self.addresses.append(-1)
        count = self.registers[instruction.sources[0]] if instruction.sources else 0
        count = count if instruction.sources else instruction.imm[1]
        if count == 0:
            raise ValueError("a hardware loop of this kernel has no iteration; give a larger shape")
        start, end = place + 1, instruction.target
        body = self.program[start : end + 1]
        if self.values or count < _MANY or not _straight(body):
            self.loops[instruction.imm[0]] = [start, end, count]
            return start
        self._repeat(start, end, body, count)
        for loop in self.loops:  # the body may end together with an outer loop
            if end == loop[1] and loop[2] > 1:
                loop[2] -= 1
                return loop[0]
        return end + 1

    def _repeat(self, start: int, end: int, body: Sequence[Instruction], count: int) -> None:
        """First and last iteration one by one, the others as arrays."""
        size = end + 1 - start
        before = list(self.registers)
        self._iteration(start, end)
        first = np.array(self.addresses[-size:], np.int64)
        self._flush()
        moved = [(after - old) & WORD for after, old in zip(self.registers, before, strict=True)]
        delta = np.array(
            [_signed(moved[one.base]) if one.base >= 0 else 0 for one in body], np.int64
        )
        for register in {one.base for one in body if one.base >= 0}:
            further = self.registers[register] + (count - 2) * _signed(moved[register])
            self.registers[register] = further & WORD
        middle = first + delta * np.arange(1, count - 1, dtype=np.int64)[:, None]
        self.chunks.append(
            (np.tile(np.arange(start, end + 1, dtype=np.int32), count - 2), middle.reshape(-1))
        )
        self._iteration(start, end)
        last = np.array(self.addresses[-size:], np.int64)
        if not np.array_equal(last, first + delta * (count - 1)):
            raise AssertionError("addresses of a hardware loop do not move evenly")

    def _iteration(self, start: int, end: int) -> None:
        outer, self.loops = self.loops, []
        for place in range(start, end + 1):
            self._one(place, self.program[place])
        self.loops = outer


def _straight(body: Sequence[Instruction]) -> bool:
    return not any(one.op in BRANCHES or one.op[:3] == "lp." or one.op == "j" for one in body)


def _signed(value: int) -> int:
    return value - (1 << 32) if value & 0x80000000 else value
