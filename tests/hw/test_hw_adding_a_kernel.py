"""A kernel is one file and one program: the page that says so, carried out."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pulpsim
import pytest
from pulpsim.cluster import l1
from pulpsim.cluster.assembler import program
from pulpsim.cluster.interpreter import interpret
from pulpsim.cluster.requests import requests
from pulpsim.cluster.simulator import run_kernel
from pulpsim.cost import contention, cortex, platform
from pulpsim.kernels import KERNELS, find

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-kernel.md").read_text(encoding="utf-8")
FILES = re.findall(r'```\w+ title="hw/pulpsim/(kernels/[\w.]+)"\n(.*?)```', PAGE, re.DOTALL)
VEGA = platform.load("vega")


def write(folder):
    for name, text in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def record(tmp_path):
    """The page's record as a user's own value; the package does not know it."""
    write(tmp_path)
    spec = importlib.util.spec_from_file_location("scaling", tmp_path / "kernels" / "scaling.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (kernel,) = module.KERNELS
    assert kernel.name not in KERNELS
    return kernel


def test_the_page_has_one_record_and_one_program():
    assert sorted(name for name, _ in FILES) == ["kernels/scaling.py", "kernels/scaling.s"]


@pytest.mark.parametrize("cores", [1, 3, 8])
def test_its_program_computes(record, cores):
    tile = record.tile("n38")
    placement = l1.place(tile, cores)
    memory = l1.memory(tile, placement, cores)
    x = np.random.default_rng(0).normal(size=38).astype(np.float32)
    memory.write(placement.buffers["x"], x)
    for core in range(cores):
        words, stack = placement.arguments[core], placement.stacks[core]
        interpret(program(record), memory, words, stack, values=True)
    np.testing.assert_array_equal(memory.read(placement.buffers["y"], x), x * np.float32(0.5))


@pytest.mark.parametrize("shape", ["n2", "n38", "n1024"])
@pytest.mark.parametrize("cores", [1, 2, 8])
def test_its_closed_form_is_that_of_the_program(record, shape, cores):
    alone = requests(record, shape, 0, cores).alone
    spent = record.tile_spent(*record.arguments_of(shape), cores)
    assert (spent.instr, spent.taken, spent.jumps) == (alone.instr, alone.taken_branches, 1)
    assert spent.cycles == alone.cycles


def test_it_is_simulated_and_costed(record):
    row = run_kernel(record, "n1024", 8, phase=0)
    assert (row.kernel, row.macs, row.instr) == ("s1_scale", 1024, 399)
    assert row.cycles >= 400
    rate = contention.stall_rate(VEGA.cluster, record)
    cost = contention.kernel_cycles(VEGA, record, 1024, ())
    assert cost == pytest.approx(400 + rate * 399)
    timing = platform.load("stm32l4").cortex_m4f
    assert timing is not None
    assert cortex.tile_cycles(record, 1024, (), timing) > 1024


def test_it_says_what_it_cannot_do(record):
    with pytest.raises(ValueError, match="s1_scale needs n to be even; the shape 'n3'"):
        record.tile("n3")
    with pytest.raises(ValueError, match="there is no kernel 's1_scale'"):
        find("s1_scale")
    with pytest.raises(ValueError, match="xmm_2x4 has no closed form"):
        contention.kernel_cycles(VEGA, "xmm_2x4", 8, (8, 8))


@pytest.mark.slow
def test_the_package_finds_it_by_itself(tmp_path):
    package = Path(pulpsim.__file__).parent
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, tmp_path / "pulpsim", ignore=ignore)
    shutil.copytree(platform.folder(), tmp_path / "pulpsim" / "platforms", dirs_exist_ok=True)
    write(tmp_path / "pulpsim")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}

    def python(*words):
        done = subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    (check,) = re.findall(r"```python\n(from pulpsim\.cluster.*?)```", PAGE, re.DOTALL)
    python("-c", check)
    command = next(line for line in PAGE.splitlines() if line.startswith("qlrjax hw kernel"))
    row = json.loads(python("-m", "qlrjax.cli", *command.split()[1:], "--json"))
    assert (row["kernel"], row["cores"], row["instr"]) == ("s1_scale", 8, 399)
    rate = "from pulpsim.cost import contention, platform; "
    rate += "print(contention.stall_rates(platform.load('vega').cluster)['s1_scale'])"
    assert 0 <= float(python("-c", rate)) < 1
