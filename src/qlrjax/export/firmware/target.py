"""Devices that firmware is made for: their memories, from `targets/NAME.toml` or a user's file."""

import dataclasses
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from qlrjax import files

_FILE_BYTES_AT_MOST = 2**20

# What the command line's families stand for.
FAMILIES = {"cortex-m4f": "mps2-an386", "rv32imf": "rv32-virt"}


@dataclasses.dataclass(frozen=True)
class Memory:
    """One memory of a device.

    Attributes:
        name: Also of its linker section.
        holds: "tables" (constants, loaded with the program) and "state" (what changes).
        bytes: Its size.
        start: First address; the host has none.
    """

    name: str
    holds: tuple[str, ...]
    bytes: int
    start: int = 0


@dataclasses.dataclass(frozen=True)
class Target:
    """One device.

    Attributes:
        name: Of the file.
        about: One line for people.
        memories: The first one of each kind is where the program's own constants and variables go.
        compiler: Command; "cc" on the host.
        flags: Of its processor.
        board: Folder of boards/ with its serial line; empty: the host.
        emulator: Command that runs it.
        reserve_flash_bytes: Kept for code.
        reserve_ram_bytes: Kept for the stack and what the C library needs.
    """

    name: str
    about: str
    memories: tuple[Memory, ...]
    compiler: str = "cc"
    flags: str = ""
    board: str = ""
    emulator: str = ""
    reserve_flash_bytes: int = 0
    reserve_ram_bytes: int = 0

    def reserved(self, memory: Memory) -> int:
        """Bytes of a memory that no buffer may take."""
        taken = 0
        for kind, reserve in (
            ("tables", self.reserve_flash_bytes),
            ("state", self.reserve_ram_bytes),
        ):
            first = next((one for one in self.memories if kind in one.holds), None)
            taken += reserve if memory == first else 0
        return taken


def names() -> tuple[str, ...]:
    """Targets that come with qlrjax."""
    folder = resources.files("qlrjax.export.firmware") / "targets"
    return tuple(
        sorted(
            file.name.removesuffix(".toml")
            for file in folder.iterdir()
            if file.name.endswith(".toml")
        )
    )


def load(name: str) -> Target:
    """A target that comes with qlrjax, a family's usual one, or a TOML file of the same keys.

    Raises:
        ValueError: There is none of that name, or the file lacks something; it is named.
    """
    if name.endswith(".toml"):
        try:
            text = files.read(Path(name), _FILE_BYTES_AT_MOST).decode()
        except OSError as error:
            raise ValueError(f"target file {name} cannot be read: {error.strerror}") from error
    elif FAMILIES.get(name, name) in names():
        file = f"{FAMILIES.get(name, name)}.toml"
        folder = resources.files("qlrjax.export.firmware") / "targets"
        text = (folder / file).read_text(encoding="utf-8")
    else:
        known = ", ".join([*FAMILIES, *names()])
        raise ValueError(f"there is no target {name!r}; choose one of {known}, or a .toml file")
    try:
        return _target(tomllib.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"target {name} is not a usable target file: {error}") from error


def _target(values: dict[str, Any]) -> Target:
    memories = tuple(
        Memory(**{**row, "holds": tuple(row["holds"])}) for row in values.pop("memory")
    )
    return Target(memories=memories, **values)
