"""The firmware on an emulated Cortex-M4F whose power fails: after any instruction, in any write.

Time is instructions and written bytes together. What survives is the storage; RAM comes back as
noise.
"""

import struct

import numpy as np
from support.cortex_m4 import CortexM4, load
from unicorn import UC_HOOK_BLOCK, UC_HOOK_CODE
from unicorn import arm_const as arm

_CALLBACKS = 0x70000800  # behind the return address: two functions that only return
_RETURN_INSTRUCTION = b"\x70\x47"


class PowerFailed(Exception):
    """The program was stopped before its end."""


class FailingBoard(CortexM4):
    """One board; `storage` outlives its power failures."""

    def __init__(self, elf, slot_bytes):
        super().__init__(elf, counts=False)
        self.elf, self.storage = elf, bytearray(b"\xff" * (2 * slot_bytes))
        self.time, self.end, self.failed = 0, None, False
        self.machine.mem_write(_CALLBACKS, 2 * (_RETURN_INSTRUCTION + b"\0\0"))
        for offset, moved in ((0, self._read), (4, self._write)):
            at = _CALLBACKS + offset
            self.machine.hook_add(UC_HOOK_CODE, moved, begin=at, end=at)
        self.machine.hook_add(UC_HOOK_BLOCK, self._pass_time)
        self.callbacks = self.place(struct.pack("<3I", _CALLBACKS | 1, _CALLBACKS + 4 | 1, 0))

    def power_up(self, random):
        """Memories as after a failure: the program is in flash, RAM holds anything."""
        self.failed = False
        self.machine.mem_write(0x20000000, random.bytes(1 << 18))
        load(self.machine, self.elf.read_bytes())

    def run(self, name, *words, end=None):
        """Calls a function; `end` is the moment of failure, counted from `time` = 0.

        Returns:
            What the function returned.

        Raises:
            PowerFailed: The end came first.
        """
        self.end = end
        self.call(name, *words)
        if self.failed:
            raise PowerFailed
        return struct.unpack("<i", struct.pack("<I", self.machine.reg_read(arm.UC_ARM_REG_R0)))[0]

    def bytes_of(self, symbol, count):
        """A variable's content."""
        return bytes(self.machine.mem_read(self.symbols[symbol], count))

    def _pass_time(self, machine, _address, size, _data):
        self.time += max(size // 3, 1)  # instructions have two or four bytes
        if self.end is not None and self.time >= self.end:
            self._fail(machine)

    def _fail(self, machine):
        self.failed = True
        machine.emu_stop()

    def _arguments(self):
        return [self.machine.reg_read(arm.UC_ARM_REG_R0 + index) for index in (1, 2, 3)]

    def _read(self, machine, *_):
        at, to, count = self._arguments()
        machine.mem_write(to, bytes(self.storage[at : at + count]))
        machine.reg_write(arm.UC_ARM_REG_R0, 0)

    def _write(self, machine, *_):
        if self.failed:
            return
        at, source, count = self._arguments()
        if self.end is not None and self.time + count >= self.end:
            count = max(self.end - self.time, 0)
            self._fail(machine)
        self.storage[at : at + count] = machine.mem_read(source, count)
        self.time += count
        machine.reg_write(arm.UC_ARM_REG_R0, 0)


def moments(random, learned, saved, count):
    """Half of the failures anywhere in the event, half while its state is saved."""
    whole = random.integers(1, saved, count // 2)
    return np.concatenate([whole, random.integers(learned, saved, count - count // 2)])
