"""`import qlrjax`: the names it promises, at no cost, with a user's own objects."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

import qlrjax
from qlrjax import weights
from qlrjax.network import mobilenet_v1
from qlrjax.runs.run import run
from qlrjax.settings import StreamSettings
from qlrjax.streams import synthetic
from qlrjax.streams.cut import Rule
from qlrjax.training.protocol import Protocol
from qlrjax.training.strategies import CwrStar, Lowest, Strategy

NAMES = [
    "Protocol",
    "Settings",
    "__version__",
    "learn_all",
    "learn_next",
    "open_run",
    "prepare",
    "start",
]
SETTINGS = qlrjax.Settings(
    replays=9,
    resolution=32,
    weights="random:0:0.25",
    evaluate_every=100,
    protocol=Protocol(first_epochs=1, epochs=1, minibatch=16),
    stream=StreamSettings(data="synthetic:3x3x4"),
)


def test_it_costs_nothing_and_has_what_it_promises():
    script = (
        "import sys, qlrjax\n"
        "assert not {'jax', 'numpy', 'qlrjax.session'} & set(sys.modules)\n"
        f"assert qlrjax.__all__ == {NAMES!r}\n"
        "assert set(qlrjax.__all__) <= set(dir(qlrjax))\n"
        "assert qlrjax.Settings().protocol == qlrjax.Protocol()\n"
        "print(qlrjax.__version__)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout[0].isdigit()
    assert all(getattr(qlrjax, name) is not None for name in NAMES)


def test_what_it_has_not_is_named():
    with pytest.raises(AttributeError, match="no attribute 'learn'; it has Protocol, Settings"):
        _ = qlrjax.learn


def test_objects_of_ones_own_are_what_the_session_works_on():
    """The settings name another stream, another network and another strategy."""
    stream = synthetic.stream("4x2x5", (32, 32), Rule(first_classes=2, seed=3))
    table = mobilenet_v1(0.5, (32, 32), 10)
    strategy = Strategy(Lowest(balanced=True))
    session = qlrjax.prepare(
        SETTINGS, stream=stream, network=(table, weights.random(table, 7)), strategy=strategy
    )
    assert session.stream is stream
    assert session.strategy is strategy
    assert (session.cut.network.width, session.cut.classes) == (0.5, 4)
    state = qlrjax.start(session)
    state, record = qlrjax.learn_next(session, state)
    rest = [one for _, one in qlrjax.learn_all(session, state)]
    assert [one["event"] for one in (record, *rest)] == list(range(len(stream.events)))
    assert rest[-1]["replays_filled"] == 9


@pytest.mark.long
def test_a_run_with_a_strategy_of_ones_own_needs_it_again(tmp_path):
    folder, strategy = tmp_path / "run", Strategy(Lowest(balanced=True))
    session = qlrjax.prepare(SETTINGS, strategy=strategy)
    outcome = run(SETTINGS, folder, session=session)
    opened = qlrjax.open_run(folder, strategy=strategy)
    assert opened.strategy == strategy
    kept = [np.asarray(one.state.learner.training.kept.head.past) for one in (opened, outcome)]
    np.testing.assert_array_equal(*kept)
    assert run(SETTINGS, folder, session=session).seconds == ()
    for wrong in (None, CwrStar()):
        with pytest.raises(ValueError, match=r"learned with Strategy\(admission=Lowest.*its own"):
            qlrjax.open_run(folder, strategy=wrong)
    named = dataclasses.replace(session, strategy=CwrStar())
    with pytest.raises(ValueError, match=r"learned with Strategy\(admission=Lowest"):
        run(SETTINGS, folder, session=named)


def test_a_run_of_the_settings_strategy_takes_no_other(tmp_path):
    run(SETTINGS, tmp_path / "run")
    assert qlrjax.open_run(tmp_path / "run").strategy == Strategy()
    with pytest.raises(ValueError, match="the strategy that its settings name, not with CwrStar"):
        qlrjax.open_run(tmp_path / "run", strategy=CwrStar())
