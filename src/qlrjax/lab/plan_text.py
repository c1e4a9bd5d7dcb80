"""A plan in words and as JSON."""

import dataclasses
from collections.abc import Sequence

from qlrjax.lab.plan import Answer, Costed, Limits


def wanted(limits: Limits) -> str:
    """The limits in words."""
    parts = []
    if limits.memory_bytes is not None:
        parts.append(f"at most {limits.memory_bytes / 1e6:g} MB")
    if limits.event_seconds is not None:
        parts.append(f"at most {limits.event_seconds:g} s an event")
    if limits.lifetime_hours is not None:
        pace = f"{limits.events_per_hour:g} events an hour"
        parts.append(f"at least {limits.lifetime_hours:g} h of battery at {pace}")
    return ", ".join(parts)


def provenance(result: Answer, unproven: Sequence[str]) -> list[str]:
    """What the figures rest on."""
    said = ["bytes, seconds and joules are simulated (qlrjax hw event)"]
    said += [f"they rest on {', '.join(unproven)}"] if unproven else []
    data = dict.fromkeys(one.measured.data for one in result.costed if one.measured)
    said += [f"accuracy was measured on {name}" for name in data]
    if data:
        said.append("± is the standard deviation over seeds, n how many")
    else:
        said.append(
            "no accuracy is known (--accuracies): an earlier cut, then more replays, then more "
            "bits are taken for better, which is an assumption"
        )
    halves = any(one.choice.maps == "float16" and one.measured for one in result.costed)
    said += ["accuracies were measured with float32 maps, also those beside float16"] * halves
    return said


def sentences(result: Answer) -> list[str]:
    """The recommendation, and why the next better settings are none."""
    if result.recommended is None:
        assert result.nearest is not None
        said = [f"nothing fits; nearest is {describe(result.nearest)}"]
        return said + [f"  but: {reason}" for reason in result.nearest.misses(result.limits)]
    said = [f"recommended: {describe(result.recommended)}"]
    if not result.better:
        said.append("nothing that was enumerated is better")
    for one, reasons in result.better[:3]:
        said.append(f"better is {describe(one)}; it does not fit: {'; '.join(reasons)}")
    return said


def describe(one: Costed) -> str:
    """A choice and its figures in one phrase."""
    choice = one.choice
    text = (
        f"layer {choice.latent_layer}, {choice.replays} replays of {choice.bits} bits, "
        f"{choice.statistics} statistics: {one.memory_bytes / 1e6:.2f} MB, {one.seconds:.3g} s and "
        f"{one.joules:.3g} J an event, {one.lifetime_hours:.4g} h"
    )
    return f"{text}, accuracy {percent(one)} %" if one.measured else text


def percent(one: Costed) -> str:
    """An accuracy with its spread; a dash where there is none."""
    found = one.measured
    if found is None:
        return "–"
    count = len(found.accuracies)
    spread = "" if found.spread is None else f" ± {found.spread:.1f}"
    return f"{found.mean:.1f}{spread} (n = {count})"


def as_json(
    result: Answer, title: str, sources: Sequence[str], notes: Sequence[str]
) -> dict[str, object]:
    """The answer as plain JSON, units in the keys."""

    def row(one: Costed) -> dict[str, object]:
        found = one.measured
        values: dict[str, object] = dataclasses.asdict(one.choice)
        values |= {
            "memory_bytes": one.memory_bytes,
            "replay_bytes": one.replay_bytes,
            "event_s": one.seconds,
            "event_J": one.joules,
            "lifetime_h": one.lifetime_hours,
            "accuracy_percent": None if found is None else found.mean,
            "accuracy_spread_points": None if found is None else found.spread,
            "seeds": 0 if found is None else len(found.accuracies),
            "misses": one.misses(result.limits),
        }
        return values

    def rows(costed: Sequence[Costed]) -> list[dict[str, object]]:
        return [row(one) for one in costed]

    return {
        "title": title,
        "limits": dataclasses.asdict(result.limits),
        "recommended": row(result.recommended) if result.recommended else None,
        "nearest": row(result.nearest) if result.nearest else None,
        "better": rows([one for one, _ in result.better]),
        "front": rows(result.front),
        "choices": rows(result.costed),
        "sources": list(sources),
        "notes": list(notes),
    }
