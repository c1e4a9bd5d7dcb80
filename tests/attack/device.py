"""A learner in C on this machine, with two saved states in a file as a device has them in flash."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
from attack.tally import CAUGHT, HARMLESS, SILENT, TRACEBACK
from support import firmware


@dataclasses.dataclass(frozen=True)
class Device:
    """A built learner that has saved twice.

    Attributes:
        folder: Where it was built; `state.bin` in it is its storage.
        stored: The storage.
        newest: The state that is read back from it.
        older: The state before.
    """

    folder: Path
    stored: bytes
    newest: tuple[bytes, bytes]
    older: tuple[bytes, bytes]

    def copy(self) -> Path:
        """The storage as it was, to be damaged."""
        path = self.folder / "state.bin"
        path.write_bytes(self.stored)
        return path

    def judge(self) -> str:
        """Starts the learner anew; what it reads back has to be one of the two."""
        try:
            board = _start(self.folder)
            status, state = board.restore(), board.dump()
            board.quit()
        except (ConnectionError, subprocess.TimeoutExpired):
            return TRACEBACK
        if status != 0:
            return CAUGHT
        if state == self.newest:
            return HARMLESS
        return CAUGHT if state == self.older else SILENT


def make(folder: Path) -> Device | None:
    """None where there is no C compiler."""
    if shutil.which("cc") is None:
        return None
    twin = firmware.Twin(cut=27, bits=6, slots=8, size=(32, 32))
    folder.mkdir()
    twin.export(folder, event_max=8)
    firmware.build_host(folder)
    board = _start(folder)
    states = []
    for label in (0, 1):
        for image in twin.images(np.full(4, label)):
            assert board.observe(image.tobytes(), label) == 0
        assert board.learn()[0] == 0
        assert board.save() == 0
        states.append(board.dump())
    board.quit()
    return Device(folder, (folder / "state.bin").read_bytes(), states[1], states[0])


def _start(folder: Path):
    return firmware.client().Learner.run([str(folder / "qlr")], cwd=folder)
