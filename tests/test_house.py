"""The rules of the house: who imports whom, how long things get, what is never committed."""

import ast
import functools
import graphlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = """\
| room | may import | what lives there |
|---|---|---|
| `experiments` | all below | sweeps and one script a figure |
| `qlrjax.cli` | all below | parse, call, show; nothing that a script could not call too |
| `qlrjax` | all below but `pulpsim` | the face: what a script needs |
| `qlrjax.lab` | all below | many sessions at once: sweeps, the design-space answer, the report |
| `qlrjax.runs`, `qlrjax.export` | all below but `pulpsim` | a session in a folder; what leaves it |
| `qlrjax.session`, `qlrjax.needs`, `qlrjax.presets`, `qlrjax.report` | all below but `pulpsim` | a stream's events learned one by one; named settings; pictures and tables |
| `qlrjax.settings` | all below but `pulpsim` | every setting, from and to TOML |
| `qlrjax.training` | all below but `pulpsim` | adaptive stage, replay memory, mini-batches, one event, strategies |
| `qlrjax.latents` | `qlrjax.integer`, `qlrjax.streams`, `qlrjax.caches` | where latents are kept, in memory and on disk |
| `qlrjax.calibrated` | `qlrjax.integer`, `qlrjax.network`, `qlrjax.caches`, `qlrjax.files` | where calibrated stages are kept |
| `qlrjax.programs` | `qlrjax.caches` | where compiled programs are kept |
| `qlrjax.frozen` | `qlrjax.integer` | a short name of the integer stage |
| `pulpsim.event` | `pulpsim.cost`, `pulpsim.kernels`, `qlrjax.network`, `qlrjax.files` | the simulated chip: a learning event's setting, schedule and memory; tables, sweeps |
| `pulpsim.cost` | `pulpsim.cluster`, `pulpsim.kernels` | a pass in cycles, bytes and joules: platforms, transfers, contention, tiles |
| `pulpsim.cluster` | `pulpsim.kernels` | instruction level: assembler, interpreter, requests, L1, arbitration, simulator |
| `pulpsim.kernels` | nothing | one record a kernel, and its program |
| `pulpsim` | nothing | the package of the four rooms above |
| `qlrjax.integer` | `qlrjax.network`, `qlrjax.native`, `qlrjax.devices`, `qlrjax.caches`, `qlrjax.files`, `qlrjax.npz`, `qlrjax.room` | fixed point, contract, stage, quantization, deployed networks |
| `qlrjax.native` | `qlrjax.caches` | C kernels: how they are built, kept and done without |
| `qlrjax.weights` | `qlrjax.network`, `qlrjax.files`, `qlrjax.npz` | where pretrained weights come from |
| `qlrjax.network` | `qlrjax.files` | layers and cuts, and their float arithmetic |
| `qlrjax.streams` | `qlrjax.caches`, `qlrjax.files`, `qlrjax.names`, `qlrjax.room` | images, and the order of their events |
| `qlrjax.metrics`, `qlrjax.caches`, `qlrjax.devices`, `qlrjax.files`, `qlrjax.names`, `qlrjax.npz`, `qlrjax.room` | nothing | accuracy in numbers; where caches lie; devices that share a batch; files replaced as a whole; names as safe text; arrays and memory that nobody vouches for |
"""  # noqa: E501


@functools.cache
def tracked(*suffixes: str) -> tuple[Path, ...]:
    """Files that git has, or would take."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(words, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a clone, to know which files are the repository's")
    paths = (ROOT / name for name in sorted(set(listed.split("\0"))) if name)
    return tuple(path for path in paths if path.is_file() and path.name.endswith(suffixes or ""))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the packages and experiments by its dotted name."""
    found = {}
    for path in tracked(".py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[0] in ("src", "hw"):
            parts = parts[1:]
        elif parts[0] != "experiments":
            continue
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(module: str) -> set[str]:
    """Modules of the house that a module names in an import, wherever in its text."""
    names = set()
    for node in ast.walk(tree(modules()[module])):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in modules() else str(node.module) for name in full}
    return {name for name in names if name in modules()} - {module}


def table() -> list[tuple[list[str], str]]:
    """Rows of ROOMS: their rooms, and the text of what they may import."""
    rows = [line.strip("|").split("|") for line in ROOMS.splitlines()[2:]]
    return [(re.findall(r"`([\w.]+)`", row[0]), row[1].strip()) for row in rows]


def within(module: str, room: str) -> bool:
    if room == "qlrjax":  # the face alone, not every room inside it
        return module == room
    return module == room or module.startswith(f"{room}.")


def room_of(module: str) -> str:
    rooms = [room for row, _ in table() for room in row if within(module, room)]
    assert rooms, f"{module} is in no room of the table in tests/test_house.py"
    return max(rooms, key=len)


def allowed(room: str) -> list[str]:
    """What a room may import besides itself."""
    number = next(i for i, (rooms, _) in enumerate(table()) if room in rooms)
    below = [other for rooms, _ in table()[number + 1 :] for other in rooms]
    text = table()[number][1]
    if text == "nothing":
        return []
    named = re.findall(r"`([\w.]+)`", text)
    for name in named:
        assert any(within(name, other) for other in below), f"{name} is not below {room}"
    if not text.startswith("all below"):
        return named
    return [other for other in below if not any(within(other, name) for name in named)]


def test_rooms_import_only_what_the_table_allows():
    wrong = [
        f"{module} imports {name}"
        for module in modules()
        for name in imported(module)
        if room_of(name) != room_of(module)
        and not any(within(name, room) for room in allowed(room_of(module)))
    ]
    assert not wrong


def test_every_room_of_the_table_exists():
    inhabited = {room_of(module) for module in modules()}
    assert inhabited == {room for rooms, _ in table() for room in rooms}


def test_contributing_quotes_the_table():
    assert ROOMS in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_no_import_circle():
    graphlib.TopologicalSorter({module: imported(module) for module in modules()}).prepare()


def test_tests_share_through_support_only():
    """A test file is no library: what two of them need lives in tests/support."""
    wrong = []
    for path in tracked(".py"):
        if name_of(path).startswith("tests/"):
            for node in ast.walk(tree(path)):
                if isinstance(node, ast.ImportFrom) and re.match(
                    r"(tests\.)?(\w+\.)*test_", f"{node.module}"
                ):
                    wrong.append(f"{name_of(path)} imports {node.module}")
    assert not wrong


def test_modules_stay_short():
    long = {name_of(path) for path in tracked(".py") if path.read_text().count("\n") > 350}
    assert not long


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree(path)) if isinstance(node, kinds)]


def test_functions_stay_short():
    long = {
        f"{name_of(path)}:{node.name}"
        for path in tracked(".py")
        for node in functions(path)
        if (node.end_lineno or 0) - node.lineno >= 60
    }
    assert not long


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """`self` and `cls` are not counted."""
    names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def test_public_functions_take_at_most_seven_arguments():
    wide = {
        f"{name_of(path)}:{node.name}"
        for path in modules().values()
        for node in functions(path)
        if parameters(node) > 7 and not node.name.startswith("_")
    }
    assert not wide


def test_the_formatter_is_never_told_to_look_away():
    mark = re.compile(r"# *fmt: *(skip|off)")
    assert not [name_of(path) for path in tracked(".py") if mark.search(path.read_text())]


TEXT = (
    ".py",
    ".md",
    ".toml",
    ".txt",
    ".cfg",
    ".json",
    ".csv",
    ".c",
    ".h",
    ".s",
    ".yml",
    "run",
    ".svg",
    "Makefile",
    ".cmake",
    ".ld",
    ".sh",
    ".css",
)


def test_nothing_names_this_machine_or_a_package_index():
    """Paths of someone's machine, and hosts that only some can reach."""
    homes = r"(?<![\w.~}])/(?:home|Users|root|work|tmp)/[\w.]"
    hosts = [r"py" + r"pi\.org", r"python" + r"hosted", r"npm" + r"js\.", r"deb\." + r"debian"]
    forbidden = re.compile("|".join([homes, *hosts]))
    found = [
        f"{name_of(path)}: {match.group()}"
        for path in tracked(*TEXT)
        for match in forbidden.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not found


def test_no_lock_file_of_one_tool():
    assert not [name_of(path) for path in tracked("uv.lock", "poetry.lock")]
