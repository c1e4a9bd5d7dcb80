"""`make profile`: its phases are found in a real run, and its arithmetic against spans by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.bench import profile

ROOT = Path(__file__).resolve().parents[2]


def span(name, start, end, module=""):
    stats = [("hlo_module", module)] if module else []
    return SimpleNamespace(name=name, start_ns=start, duration_ns=end - start, stats=stats)


def test_a_span_keeps_what_none_inside_it_takes():
    events = [span("b", 10, 40), span("a", 0, 100), span("c", 20, 30), span("d", 40, 90)]
    own = {event.name: event.own for event in profile._spans(events)}
    assert own == {"a": 20, "b": 20, "c": 10, "d": 50}
    assert sum(own.values()) == 100


def test_the_innermost_scope_of_an_operation_counts():
    program = """
  %while.6 = (s32[]) while(%t), metadata={op_name="jit(_learn)/while"}
  dot.1 = f32[8,4]{1,0} dot(a, b), metadata={op_name="jit(_learn)/while/body/training/head/dot"}
  ROOT %fusion.2 = f32[8] fusion(a), metadata={op_name="training/transpose(jvp(head))/dot" line=3}
  gather.3 = u8[8] gather(a), metadata={op_name="jit(_learn)/training/replay read/gather"}
  add.4 = f32[8] add(a, b), metadata={op_name="jit(_learn)/while/body/training/add"}
  copy.5 = f32[8] copy(a)
"""
    assert profile.scopes(program) == {
        "dot.1": "head",
        "fusion.2": "head",
        "gather.3": "replay read",
        "add.4": "training",
    }


def test_the_table_adds_up_to_the_event():
    million, learn = 1_000_000, profile._PROGRAM
    main = [
        span(profile.MARK, 0, 0),
        span("decode", 0, 2 * million),
        span(profile.LEARNING, 2 * million, 12 * million),
        span("plan", 2 * million, 3 * million),
        span("evaluation", 12 * million, 15 * million),
        span(profile.MARK, 20 * million, 20 * million),
        span("decode", 20 * million, 30 * million),
    ]
    other = [
        span("while", 3 * million, 11 * million, learn),
        span("dot", 3 * million, 8 * million, learn),
        span("dot", 13 * million, 14 * million, "jit__logits"),
    ]
    threads = [list(profile._spans(events)) for events in (main, other)]
    rows = profile.table(threads, {"dot": "training"})
    assert rows["decode"] == 2
    assert rows["plan"] == 1
    assert rows["training"] == 5
    assert rows["evaluation"] == 3
    assert rows[profile.UNNAMED] == 4  # of ten, one is the plan and five the product
    assert rows[profile.REST] == 5
    assert sum(rows[name] for name in (*profile.PHASES, profile.UNNAMED, profile.REST)) == 20
    assert rows["event"] == 20


@pytest.mark.long
def test_every_phase_of_a_real_run_is_found_and_they_are_most_of_its_time(tmp_path):
    words = ["--data", "synthetic:4x4x6", "--weights", "random:1:0.25", "--resolution", "32"]
    words += ["--latent-layer", "25", "--events", "4", "--out", str(tmp_path / "rows.json")]
    path = os.pathsep.join(str(ROOT / name) for name in ("src", "hw", "."))
    subprocess.run(
        [sys.executable, "-m", "tests.bench.profile", *words],
        env={**os.environ, "PYTHONPATH": path},
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [name for name in profile.PHASES if not rows[name] > 0] == []
    # Saving can take most of an event, so it must not be what makes this true.
    event = rows["event"] - rows["checkpoint"]
    assert rows[profile.UNNAMED] + rows[profile.REST] < 0.6 * event
    assert rows[profile.UNNAMED] > 0
