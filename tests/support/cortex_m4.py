"""A Cortex-M4F in unicorn: calls functions of an ELF file and counts what they execute.

Cycles follow Arm's Cortex-M4 Technical Reference Manual (DDI 0439B, tables 3-1 and 7-1) without
wait states: one an instruction; a load one more unless another load is before it; LDM, VLDM and
LDRD one more than their registers; a branch three (1 + P, P = 1 to 3, as if all were taken); VDIV
and VSQRT 14, multiply-accumulates in floating point three; floating-point arithmetic one more if
the next instruction takes its result.
"""

import dataclasses
import re
import struct
import subprocess
from collections import Counter
from pathlib import Path

import capstone
import numpy as np
import unicorn
from unicorn import arm_const as arm

# Behind the board's memories: what a call is given, the stack, and where it returns to.
_ARGUMENTS, _ROOM, _RETURN = 0x60000000, 1 << 24, 0x70000000
_STACK, _PAINT = _ARGUMENTS + _ROOM - 4096, 1 << 16  # its top, and how deep it is looked at
_FUSED = re.compile(r"v(n?ml[as]|fn?m[as])\b")
_ARITHMETIC = (
    "vadd",
    "vsub",
    "vmul",
    "vnmul",
    "vfm",
    "vfnm",
    "vml",
    "vnml",
    "vcvt",
    "vneg",
    "vabs",
)
_REGISTER = re.compile(r"\bs\d+\b")
_MEMORIES = ((0x0, 1 << 22), (0x08000000, 1 << 20), (0x10000000, 1 << 16), (0x20000000, 1 << 25))


@dataclasses.dataclass(frozen=True)
class Count:
    """What a call took."""

    instructions: int
    cycles: int
    mix: Counter


class CortexM4:
    """One program; `call` runs one of its functions."""

    def __init__(self, elf: Path, prefix: str = "arm-none-eabi-", *, counts: bool = True) -> None:
        self.machine = unicorn.Uc(
            unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
        )
        self.machine.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M4)
        for start, size in (*_MEMORIES, (_ARGUMENTS, _ROOM), (_RETURN, 4096)):
            self.machine.mem_map(start, size)
        load(self.machine, elf.read_bytes())
        listed = subprocess.run([f"{prefix}nm", elf], check=True, capture_output=True, text=True)
        rows = (line.split() for line in listed.stdout.splitlines())
        self.symbols = {row[-1]: int(row[0], 16) for row in rows if len(row) == 3}
        self.used, self.blocks, self.taken = _ARGUMENTS, Counter(), Counter()
        self.counts = counts
        if counts:
            self.machine.hook_add(unicorn.UC_HOOK_BLOCK, self._block)
        self.decoder = capstone.Cs(
            capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
        )
        self._enable_fpu()

    def _enable_fpu(self) -> None:
        self.machine.reg_write(arm.UC_ARM_REG_C1_C0_2, 0xF << 20)
        self.machine.reg_write(arm.UC_ARM_REG_FPEXC, 1 << 30)

    def _block(self, _machine, address, size, _data) -> None:
        self.blocks[address, size] += 1

    def place(self, values: np.ndarray | bytes) -> int:
        """Writes values for a call to find; their address."""
        content = values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes()
        at, self.used = self.used, self.used + (len(content) + 31) // 16 * 16
        self.machine.mem_write(at, content)
        return at

    def read(self, at: int, like: np.ndarray) -> np.ndarray:
        """Values of the shape and type of `like`."""
        content = bytes(self.machine.mem_read(at, like.nbytes))
        return np.frombuffer(content, like.dtype).reshape(like.shape)

    def call(self, name: str, *words: int) -> Count:
        """Runs a function to its end; what it took, nothing if it was not to be counted."""
        self.blocks.clear()
        self.machine.mem_write(_STACK, struct.pack(f"<{len(words[4:])}I", *words[4:]))
        self.machine.reg_write(arm.UC_ARM_REG_SP, _STACK)
        self.machine.reg_write(arm.UC_ARM_REG_LR, _RETURN | 1)
        for register, word in enumerate(words[:4]):
            self.machine.reg_write(arm.UC_ARM_REG_R0 + register, word)
        self.machine.emu_start(self.symbols[name] | 1, _RETURN)
        return self._count() if self.counts else Count(0, 0, Counter())

    def paint_stack(self) -> None:
        """Marks what lies below the stack, so that `stack_used` sees how deep later calls went."""
        self.machine.mem_write(_STACK - _PAINT, b"\xa5" * _PAINT)

    def stack_used(self) -> int:
        """Bytes of stack that were ever written since `paint_stack`."""
        below = bytes(self.machine.mem_read(_STACK - _PAINT, _PAINT))
        return len(below.lstrip(b"\xa5"))

    def _count(self) -> Count:
        instructions = cycles = 0
        mix: Counter = Counter()
        for (address, size), times in self.blocks.items():
            if address == _RETURN:
                continue
            code = bytes(self.machine.mem_read(address, size))
            before, result = "", ""
            for one in self.decoder.disasm(code, address):
                name = one.mnemonic.split(".")[0]
                registers = _REGISTER.findall(one.op_str)
                computes = name.startswith(_ARITHMETIC)
                taken = registers[1:] if computes and not _FUSED.match(name) else registers
                if name.startswith(("vldr", "vldm", "vpop")):
                    taken = []
                instructions += times
                cycles += times * (_cycles(name, one.op_str, before) + (result in taken))
                mix[name] += times
                before, result = name, registers[0] if computes and registers else ""
        return Count(instructions, cycles, mix)


def load(machine: unicorn.Uc, content: bytes) -> None:
    """Loads an ELF file's segments where they run."""
    start, size, count = (
        *struct.unpack_from("<I", content, 28),
        *struct.unpack_from("<HH", content, 42),
    )
    for index in range(count):
        kind, offset, address, _, bytes_, _, _, _ = struct.unpack_from(
            "<8I", content, start + index * size
        )
        if kind == 1 and bytes_:
            machine.mem_write(address, content[offset : offset + bytes_])


def _cycles(name: str, operands: str, before: str) -> int:
    registers = _registers(operands)
    if name.startswith(("ldm", "vldm", "stm", "vstm", "pop", "push", "vpop", "vpush")):
        return 1 + registers
    if name.startswith(("ldrd", "strd")):
        return 3
    if name.startswith(("ldr", "vldr")):
        return 1 if before.startswith(("ldr", "vldr")) else 2
    if name.startswith(("vdiv", "vsqrt")):
        return 14
    if _FUSED.match(name):
        return 3
    if name in ("udiv", "sdiv"):
        return 7
    if name.startswith(("b", "cb")) and not name.startswith(("bic", "bfi", "bfc")):
        return 3
    return 1


def _registers(operands: str) -> int:
    inside = operands.partition("{")[2].partition("}")[0]
    total = 0
    for part in filter(None, (word.strip() for word in inside.split(","))):
        first, _, last = part.partition("-")
        total += int(last[1:]) - int(first[1:]) + 1 if last else 1
    return total
