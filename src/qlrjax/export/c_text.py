"""Arrays and tables as C text."""

from collections.abc import Iterable, Mapping

import numpy as np

_WIDTH = 96
_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t", "float32": "float"}


def array(name: str, values: np.ndarray, *, const: bool = True, size: str = "") -> str:
    """`static const T name[] = {...};`, floats with nine digits, which float32 needs to return.

    Args:
        name: Of the C array.
        values: int8, uint8, int32 or float32; flattened in C order; may be empty.
        const: False for arrays that the program changes.
        size: What stands between the brackets; empty lets the compiler count.
    """
    flat = np.asarray(values).ravel()
    kind = "static const" if const else "static"
    head = f"{kind} {_TYPES[flat.dtype.name]} {name}[{size}] = {{"
    if flat.size == 0:
        return f"{head}0}};\n"
    if flat.dtype == np.float32:
        words = [f"{value:.8e}f" for value in flat.tolist()]
    else:
        words = list(map(str, flat.tolist()))
        if flat.dtype == np.int32:  # -2147483648 is a unary minus on a constant that is no int
            words = ["(-2147483647 - 1)" if word == "-2147483648" else word for word in words]
    return head + "\n" + _wrap(words) + "\n};\n"


def macros(values: Mapping[str, object]) -> str:
    """`#define NAME value` lines, aligned; floats become float literals."""
    column = max(map(len, values)) + 1
    return "".join(f"#define {name:<{column}}{_literal(value)}\n" for name, value in values.items())


def struct(fields: Mapping[str, object]) -> str:
    """`{.a = 1, .b = 2}`; dictionaries nest."""
    parts = (
        f".{name} = {struct(value) if isinstance(value, Mapping) else _literal(value)}"
        for name, value in fields.items()
    )
    return "{" + ", ".join(parts) + "}"


def table(kind: str, name: str, count: str, rows: Iterable[str]) -> str:
    """An array of structs with one all-zero row at the end, since C has no empty arrays."""
    body = "".join(f"    {row},\n" for row in rows)
    end = struct({"shape": {"kind": "QLR_CONV"}})
    return f"static const {kind} {name}[{count} + 1] = {{\n{body}    {end},\n}};\n"


def _literal(value: object) -> str:
    return f"{value:.8e}f" if isinstance(value, float) else str(value)


def _wrap(words: list[str]) -> str:
    """Lines of equal numbers of words: wrapping by length would take minutes for a network."""
    longest = max(map(len, words[:4096])) + 2
    a_line = max(_WIDTH // longest, 1)
    rows = (words[start : start + a_line] for start in range(0, len(words), a_line))
    return ",\n".join("    " + ", ".join(row) for row in rows)
