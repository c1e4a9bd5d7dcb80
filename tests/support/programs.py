"""Programs of the simulated cores carried out instruction by instruction, on arrays."""

from collections.abc import Mapping

import numpy as np
from pulpsim.cluster import l1
from pulpsim.cluster.assembler import program
from pulpsim.cluster.interpreter import interpret
from pulpsim.kernels import find


def carried_out(
    name: str,
    shape: str,
    cores: int,
    inputs: Mapping[str, np.ndarray],
    outputs: Mapping[str, np.ndarray],
    scalars: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """Outputs, shaped like the arrays given for them, of a kernel on one tile.

    Args:
        name: Of the kernel.
        shape: Of its tile, as in the RTL table.
        cores: That share it, one after the other.
        inputs: By argument.
        outputs: By argument; their contents do not matter.
        scalars: Arguments that are not what the record says, by name.
    """
    kernel = find(name)
    tile = kernel.tile(shape)
    placement = l1.place(tile, cores)
    memory = l1.memory(tile, placement, cores)
    for argument, array in inputs.items():
        memory.write(placement.buffers[argument], array)
    for core in range(cores):
        block, stack = placement.arguments[core], placement.stacks[core]
        for argument, value in (scalars or {}).items():
            memory.store(block + 4 * tile.words[argument], 4, value)
        interpret(program(kernel), memory, block, stack, values=True)
    return {key: memory.read(placement.buffers[key], like) for key, like in outputs.items()}
