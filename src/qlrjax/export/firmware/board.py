"""The board's half of the folder: example program, start-up, linker script, build files."""

from importlib import resources

from qlrjax.export.firmware.target import Target

_BARE = ("board.h", "port_bare.c", "semihosting.c", "semihosting.h")
_START = {"arm": "start_cortex_m.c", "riscv": "start_rv32.S"}
_SYSROOT = {
    "arm": "--sysroot=/usr/lib/arm-none-eabi",
    "riscv": "-isystem /usr/lib/picolibc/riscv64-unknown-elf/include",
}
_TRIPLE = {"arm": "arm-none-eabi", "riscv": "riscv32-unknown-elf"}


def texts(target: Target) -> dict[str, str]:
    """Files by their path in the exported folder."""
    found = {
        "board/main.c": _read("main.c"),
        "board/port.h": _read("port.h"),
        "learner.py": _read("learner.py"),
        "library.properties": _read("library.properties"),
        "examples/learner/learner.ino": _read("arduino/learner.ino"),
    }
    if target.board:
        found |= {f"board/{name}": _read(name) for name in _BARE}
        start = _START[_family(target)]
        found[f"board/{start}"] = _read(start)
        found["board/board.c"] = _read(f"{target.board}/board.c")
        found["board/link.ld"] = link_script(target)
    else:
        found["board/port_host.c"] = _read("port_host.c")
    values = _build_values(target)
    found["Makefile"] = _fill(_read("Makefile.in"), values)
    found["CMakeLists.txt"] = _fill(_read("CMakeLists.txt.in"), values)
    return found


def link_script(target: Target) -> str:
    """GNU ld's script of a target's memories."""
    tables, state = (
        next(one.name for one in target.memories if kind in one.holds)
        for kind in ("tables", "state")
    )
    memories = "\n".join(
        f"    {one.name} (rwx) : ORIGIN = 0x{one.start:08x}, LENGTH = {one.bytes}"
        for one in target.memories
    )
    others = []
    for one in target.memories:
        if "tables" in one.holds and one.name != tables:
            others.append(
                f"    .qlr_{one.name}_tables : {{ *(.qlr_{one.name}_tables) }} > {one.name}"
            )
        if "state" in one.holds and one.name != state:
            others.append(f"    .qlr_{one.name} (NOLOAD) : {{ *(.qlr_{one.name}) }} > {one.name}")
    return _fill(
        _read("link.ld.in"),
        {
            "name": target.name,
            "memories": memories,
            "others": "\n".join(others),
            "tables": tables,
            "state": state,
        },
    )


def run_command(target: Target, program: str) -> str:
    """Runs the program with its serial line on standard input and output."""
    if not target.emulator:
        return program
    options = "-display none -monitor none -serial stdio -semihosting"
    return f"{target.emulator} {options} -kernel {program}"


def _build_values(target: Target) -> dict[str, str]:
    bare = bool(target.board)
    program = "qlr.elf" if bare else "qlr"
    family = _family(target)
    link = "-nostartfiles -T board/link.ld -Wl,--gc-sections" if bare else ""
    options = [
        f"target_compile_options(qlr PUBLIC {target.flags})",
        f"target_link_options({program} PRIVATE {target.flags} -nostartfiles "
        "-T ${CMAKE_SOURCE_DIR}/board/link.ld)",
    ]
    return {
        "name": target.name,
        "program": program,
        "compiler": target.compiler,
        "flags": target.flags,
        "ldflags": link,
        "libs": "-lm",
        "triple": _TRIPLE.get(family, ""),
        "sysroot": _SYSROOT.get(family, ""),
        "emulated": " in an emulator" if target.emulator else "",
        "run": run_command(target, "$(PROGRAM)"),
        "asm": " ASM" if bare else "",
        "toolchain": f" -DCMAKE_SYSTEM_NAME=Generic -DCMAKE_C_COMPILER={target.compiler} "
        "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY"
        if bare
        else "",
        "options": "\n".join(options) if bare else "",
    }


def _family(target: Target) -> str:
    if not target.board:
        return "host"
    return "riscv" if "riscv" in target.compiler else "arm"


def _read(name: str) -> str:
    return (resources.files("qlrjax.export.firmware") / "boards" / name).read_text("utf-8")


def _fill(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
