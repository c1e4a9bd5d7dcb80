"""Settings of every test: strict promotion, shapes checked, hypothesis reproducible in CI."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiled programs are kept between tests, workers and the processes that tests start.
_programs = Path(__file__).resolve().parents[1] / ".cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_programs))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

# What is prepared once for a user must not end up in the cache of whoever tests.
os.environ["XDG_CACHE_HOME"] = str(_programs.parent / "user")

from jaxtyping import install_import_hook

# Annotated shapes are enforced in tests only; the hook must see the modules before they load.
_hook = install_import_hook(["qlrjax", "pulpsim"], "beartype.beartype")

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

profiles = hypothesis.settings.register_profile
profiles("ci", derandomize=True, deadline=None, max_examples=30)
profiles("local", deadline=None, max_examples=30)
profiles("fuzz", deadline=None, max_examples=300, print_blob=True)  # `make fuzz`: fresh seeds
_default = "ci" if os.environ.get("CI") else "local"
hypothesis.settings.load_profile(os.environ.get("QLRJAX_HYPOTHESIS", _default))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The developers' reference data, which a user's machine does not have."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the developers' folder ../shared with scenes50 and the NICv2 orders")
    return folder
