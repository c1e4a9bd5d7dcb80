"""Both ways to compute a mini-batch."""

import pytest

from qlrjax.native import description, load
from qlrjax.training import adaptive, kernels

PASSES = {"JAX": adaptive.Passes(), "C": adaptive.Passes(native=True)}


@pytest.fixture(params=PASSES)
def passes(request):
    """Pure JAX, and the C kernels where they can be built."""
    chosen = PASSES[request.param]
    if chosen.native and load(kernels.LIBRARY) is None:
        pytest.skip(description(kernels.LIBRARY))
    return chosen
