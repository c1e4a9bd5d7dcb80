"""What the exported sections take of a device's memories."""

from collections.abc import Mapping

# Of VEGA, as in hw/platforms/vega.toml, where the sources are named.
VEGA = {"L2": 1_572_864, "MRAM": 4_194_304, "HyperRAM": 67_108_864}


def table(sections: Mapping[str, int], memories: Mapping[str, int] = VEGA) -> str:
    """Markdown: bytes of every section and its share of each memory, or where it does not fit."""
    names = [f"{name} ({size:,} B)" for name, size in memories.items()]
    lines = ["| section | bytes | " + " | ".join(names) + " |",
             "|---|--:|" + "--:|" * len(names)]  # fmt: skip
    for section, size in {**sections, "all of it": sum(sections.values())}.items():
        shares = [f"{size / limit:.1%}" if size <= limit else "too large"
                  for limit in memories.values()]  # fmt: skip
        lines.append(f"| {section} | {size:,} | " + " | ".join(shares) + " |")
    return "\n".join(lines)
