"""Platforms: one validated TOML file per chip, with a unit in every key and a source per value.

A figure is written as `key = { value = ..., status = "...", source = "..." }`. Unknown and missing
keys and impossible values are refused by name. To add a chip, copy one of the shipped files and
give its path to `load`; a file that says `like = "vega"` needs only what differs.
"""

import dataclasses
import tomllib
import typing
from pathlib import Path
from typing import Any, Literal

from pulpsim.cost.chip import (
    L2,
    Battery,
    Caches,
    Cluster,
    CortexM4F,
    CortexM7,
    Dma,
    Efficiency,
    External,
    Power,
    Storage,
)

Status = Literal["rtl", "read", "derived", "recalled", "assumed"]
# What a chip has beside its cores, by their kind, and which keys mean nothing to it.
PARTS: dict[str, frozenset[str]] = {
    "ri5cy": frozenset({"dma", "l2"}),
    "cortex-m4f": frozenset({"cortex_m4f"}),
    "cortex-m7": frozenset({"cortex_m7", "caches", "l2"}),
}
CORES = tuple(PARTS)
_ALONE = frozenset({"fpus", "fpu_map", "fpu_latency_cycles", "tcdm_banks"})
STATUSES: tuple[str, ...] = typing.get_args(Status)
MAY_BE_ZERO = frozenset(
    {
        "fpu_latency_cycles",
        "l1_reserved_bytes",
        "reserved_bytes",
        "staging_bytes",
        "barrier_cycles",
        "tile_cycles",
        "queued_cycles",
        "offload_cycles",
        "program_cycles",
        "l2_latency_cycles",
        "joules_per_byte",
        "transaction_s",
        "sleep_watts",
    }
)


class PlatformError(ValueError):
    """A platform file that cannot be used; the message names the file and the key."""


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where a value comes from."""

    status: Status
    source: str


@dataclasses.dataclass(frozen=True)
class Platform:
    """One chip; `provenance` is keyed by "section.key".

    A cluster has `dma` and `l2`, a Cortex-M4F `cortex_m4f`, a Cortex-M7 `cortex_m7`, `caches` and
    `l2`. `efficiency` is there where somebody has published it.
    """

    name: str
    description: str
    core: str
    cluster: Cluster
    storage: Storage
    external: External
    power: Power
    battery: Battery
    dma: Dma | None = None
    l2: L2 | None = None
    cortex_m4f: CortexM4F | None = None
    cortex_m7: CortexM7 | None = None
    caches: Caches | None = None
    efficiency: Efficiency | None = None
    provenance: dict[str, Provenance] = dataclasses.field(
        default_factory=dict, compare=False, repr=False, hash=False
    )

    def replace(self, **changes: Any) -> "Platform":
        """A copy with some values changed, by "section.key", marked as assumed.

        `vega.replace(**{"cluster.cores": 4})`.

        Raises:
            PlatformError: The key is unknown or the value impossible.
        """
        sections: dict[str, dict[str, Any]] = {}
        for path, value in changes.items():
            section, _, key = path.partition(".")
            part = getattr(self, section, None)
            if not dataclasses.is_dataclass(part) or not hasattr(part, key):
                raise PlatformError(f"{self.name}: there is no value {path!r} to change")
            sections.setdefault(section, {})[key] = value
        parts = {
            name: dataclasses.replace(getattr(self, name), **values)
            for name, values in sections.items()
        }
        changed = {path: Provenance("assumed", "changed for this run") for path in changes}
        result = dataclasses.replace(self, **parts, provenance=self.provenance | changed)
        for name in sections:
            _check_section(result.name, name, getattr(result, name))
        _check_whole(result)
        return result

    def is_unproven(self, *paths: str) -> bool:
        """Whether any of these values is recalled or assumed; one that no file says is not."""
        known = [self.provenance[path] for path in paths if path in self.provenance]
        return any(one.status in ("recalled", "assumed") for one in known)

    @property
    def moves_tiles(self) -> bool:
        """Whether tiles travel between L2 and L1, by DMA or through a cache."""
        return self.dma is not None or self.caches is not None

    @property
    def is_cortex(self) -> bool:
        """Whether its core is an Arm Cortex-M."""
        return self.core != "ri5cy"


_SECTIONS: dict[str, type] = {
    "cluster": Cluster,
    "dma": Dma,
    "l2": L2,
    "storage": Storage,
    "external": External,
    "power": Power,
    "battery": Battery,
    "cortex_m4f": CortexM4F,
    "cortex_m7": CortexM7,
    "caches": Caches,
    "efficiency": Efficiency,
}
_EVERYBODY = frozenset(_SECTIONS) - frozenset().union(*PARTS.values())
_OPTIONAL = {"efficiency"}


def folder() -> Path:
    """Of the shipped platform files: in a wheel beside the code, in the source tree above it."""
    package = Path(__file__).resolve().parents[1]
    return next(f for f in (package / "platforms", package.parent / "platforms") if f.is_dir())


def names() -> tuple[str, ...]:
    """Names of the shipped platforms."""
    return tuple(sorted(path.stem for path in folder().glob("*.toml")))


def load(name_or_path: str | Path) -> Platform:
    """Reads a shipped platform by name, or a user's file by path (anything that ends in .toml).

    Raises:
        PlatformError: No such platform, or the file is not valid.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = folder() / f"{name_or_path}.toml"
        if not path.is_file():
            raise PlatformError(
                f"there is no platform {str(name_or_path)!r}; choose one of {', '.join(names())} "
                "or give the path of a .toml file"
            )
    return parse(_table(path), str(path))


def _table(path: Path) -> dict[str, Any]:
    """A file's table, over that of the shipped platform that it is `like`."""
    if path.exists() and not path.is_file():  # a pipe would never end
        raise PlatformError(f"{path}: cannot be read (it is no plain file)")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlatformError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlatformError(f"{path}: not valid TOML ({error})") from error
    like = table.pop("like", None)
    if like is None:
        return table
    if like not in names() or like == path.stem:
        raise PlatformError(f"{path}: like = {like!r} is not another of {', '.join(names())}")
    base = _table(folder() / f"{like}.toml")
    for key, value in table.items():
        merged = isinstance(value, dict) and isinstance(base.get(key), dict)
        base[key] = base[key] | value if merged else value
    return base


def parse(table: dict[str, Any], where: str) -> Platform:
    """Builds a platform from a parsed TOML table; `where` names it in messages.

    Raises:
        PlatformError: Unknown or missing key, wrong type, impossible value.
    """
    table = dict(table)
    texts = {key: table.pop(key, None) for key in ("name", "description", "core")}
    for key, text in texts.items():
        if not isinstance(text, str) or not text:
            raise PlatformError(f"{where}: {key} is missing or not a text")
    if texts["core"] not in CORES:
        raise PlatformError(f"{where}: core {texts['core']!r} is not one of {', '.join(CORES)}")
    unknown = sorted(set(table) - set(_SECTIONS))
    if unknown:
        raise PlatformError(f"{where}: unknown key {unknown[0]!r}")
    needed = _EVERYBODY | PARTS[texts["core"]]
    _check_keys(table, texts["core"], where)
    provenance: dict[str, Provenance] = {}
    parts = {}
    for section, kind in _SECTIONS.items():
        if section not in table:
            if section in needed - _OPTIONAL:
                raise PlatformError(f"{where}: section [{section}] is missing")
            continue
        if section not in needed:
            raise PlatformError(f"{where}: section [{section}] does not belong to {texts['core']}")
        parts[section] = _section(table[section], kind, section, where, provenance)
    platform = Platform(**texts, **parts, provenance=provenance)
    _check_whole(platform, where)
    return platform


def _check_keys(table: dict[str, Any], core: str, where: str) -> None:
    """Refuses keys that nothing would read, and clusters without theirs."""
    given = table.get("cluster", {})
    for key in sorted(_ALONE):
        if core != "ri5cy" and key in given:
            raise PlatformError(
                f"{where}: cluster.{key} means nothing to a {core}, which is one core: leave it out"
            )
        if core == "ri5cy" and isinstance(given, dict) and key not in given:
            raise PlatformError(f"{where}: missing key cluster.{key}")
    ram = table.get("external", {})
    timed = isinstance(ram, dict) and isinstance(ram.get("transaction_s"), dict)
    if timed and (ram["transaction_s"].get("value") == 0) == ("page_bytes" in ram):
        text = "external.page_bytes belongs to an external.transaction_s above 0, and only there"
        raise PlatformError(f"{where}: {text}")


def _section(
    table: Any, kind: type, section: str, where: str, provenance: dict[str, Provenance]
) -> Any:
    if not isinstance(table, dict):
        raise PlatformError(f"{where}: {section} must be a section")
    hints = typing.get_type_hints(kind)
    for key in table:
        if key not in hints:
            raise PlatformError(f"{where}: unknown key {section}.{key}")
    values = {}
    optional = [one for one in dataclasses.fields(kind) if one.default is not dataclasses.MISSING]
    for key, hint in hints.items():
        path = f"{section}.{key}"
        if key not in table:
            if any(one.name == key for one in optional):
                continue
            raise PlatformError(f"{where}: missing key {path}")
        if key == "kind":
            if not isinstance(table[key], str):
                raise PlatformError(f"{where}: {path} must be a text")
            values[key] = table[key]
            continue
        values[key] = _value(table[key], hint, path, where, provenance)
    result = kind(**values)
    _check_section(where, section, result)
    return result


def _value(
    entry: Any, hint: Any, path: str, where: str, provenance: dict[str, Provenance]
) -> int | float | str:
    if not isinstance(entry, dict) or set(entry) != {"value", "status", "source"}:
        raise PlatformError(f"{where}: {path} must have exactly value, status and source")
    if entry["status"] not in STATUSES:
        raise PlatformError(
            f"{where}: {path}: status {entry['status']!r} is not one of {', '.join(STATUSES)}"
        )
    if not isinstance(entry["source"], str) or not entry["source"].strip():
        raise PlatformError(f"{where}: {path}: source is empty; say where the value comes from")
    value = entry["value"]
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            allowed = ", ".join(typing.get_args(hint))
            raise PlatformError(f"{where}: {path} = {value!r} is not one of {allowed}")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise PlatformError(f"{where}: {path} = {value!r} is not a number")
    elif hint is int and not isinstance(value, int):
        raise PlatformError(f"{where}: {path} = {value!r} is not a whole number")
    provenance[path] = Provenance(entry["status"], entry["source"])
    return float(value) if hint is float else value


def _check_section(where: str, section: str, part: Any) -> None:
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if isinstance(value, str):
            continue
        least_ok = value >= 0 if field.name in MAY_BE_ZERO else value > 0
        if not least_ok or value != value or value == float("inf"):
            raise PlatformError(f"{where}: {section}.{field.name} = {value} is impossible")


def _check_whole(platform: Platform, where: str | None = None) -> None:
    where = where or platform.name
    cluster = platform.cluster
    left = cluster.l1_bytes - cluster.l1_reserved_bytes
    banks, private = cluster.tcdm_banks, cluster.fpu_map == "private"
    rules = {
        f"cluster.cores must be 1 for a {platform.core}": (
            platform.is_cortex and cluster.cores != 1
        ),
        "cluster.l1_reserved_bytes leaves less than 4096 bytes of cluster.l1_bytes": left < 4096,
        "cluster.cores is more than 16": cluster.cores > 16,
        "cluster.fpus is more than cluster.cores + 1": cluster.fpus > cluster.cores + 1,
        "cluster.fpu_map private needs one of cluster.fpus per core": (
            private and cluster.fpus < cluster.cores
        ),
        "cluster.tcdm_banks is not a power of two": banks & (banks - 1) != 0,
        "cluster.tcdm_banks is more than 16": banks > 16,
    }
    for text, broken in rules.items():
        if broken:
            raise PlatformError(f"{where}: {text}")
    for path in ("dma.bus_bytes", "dma.burst_bytes", "caches.line_bytes"):
        section, _, key = path.partition(".")
        value = getattr(getattr(platform, section), key, 0)  # 0: no such section
        if value & (value - 1):
            raise PlatformError(f"{where}: {path} = {value} is not a power of two")
    l2 = platform.l2
    if l2 is not None and l2.reserved_bytes + l2.staging_bytes >= l2.l2_bytes:
        raise PlatformError(
            f"{where}: l2.reserved_bytes and l2.staging_bytes leave nothing of l2.l2_bytes"
        )
