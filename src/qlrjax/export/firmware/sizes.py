"""What a plan takes of a device's memories, for people and for programs."""

from typing import Any

from qlrjax.export.firmware.planner import Plan


def record(plan: Plan) -> dict[str, Any]:
    """Plain JSON values; sizes in bytes."""
    state = sum(one.bytes for one in plan.buffers if one.kind == "state")
    return {
        "target": plan.target.name,
        "buffers": [
            {
                "name": one.name,
                "bytes": one.bytes,
                "symbol": one.symbol,
                "memory": plan.places[one.symbol].name,
            }
            for one in plan.buffers
        ],
        "memories": [
            {
                "name": memory.name,
                "bytes": memory.bytes,
                "used": plan.used(memory),
                "reserved": plan.target.reserved(memory),
            }
            for memory in plan.target.memories
        ],
        "arena": plan.arena,
        "peak_ram": state + plan.target.reserve_ram_bytes,
        "slice": plan.choice.slice,
        "kept_layers": [int(kept) for kept in plan.choice.kept],
        "keeps_gradient": plan.choice.keeps_gradient,
        "keeps_features": plan.choice.keeps_features,
        "minibatch_macs": plan.macs,
        "least_minibatch_macs": plan.least_macs,
    }


def markdown(plan: Plan) -> str:
    """The tables of SIZES.md."""
    lines = [
        f"# Memory on {plan.target.name}: {plan.target.about}",
        "",
        "| buffer | bytes | memory |",
        "|---|--:|---|",
    ]
    for one in plan.buffers:
        lines.append(f"| {one.name} | {one.bytes:,} | {plan.places[one.symbol].name} |")
    lines += [
        "",
        "| memory | buffers | kept for code, stack and C library | size |",
        "|---|--:|--:|--:|",
    ]
    for memory in plan.target.memories:
        lines.append(
            f"| {memory.name} | {plan.used(memory):,} | {plan.target.reserved(memory):,} | "
            f"{memory.bytes:,} |"
        )
    facts = record(plan)
    lines += [
        "",
        "The arena's users take turns: "
        + ", ".join(f"{name} {size:,} bytes" for name, size in plan.arena.items())
        + ".",
    ]
    lines.append(f"Peak RAM, stack included: {facts['peak_ram']:,} bytes.")
    more = plan.macs / plan.least_macs - 1 if plan.least_macs else 0.0
    lines.append(
        f"A mini-batch is walked {plan.choice.slice} samples at a time and takes "
        f"{plan.macs / 1e6:,.1f} million multiply-accumulates, {more:.0%} more than if all "
        "activations could be kept."
    )
    return "\n".join(lines)
