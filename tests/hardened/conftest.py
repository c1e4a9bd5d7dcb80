"""One finished run for all tests that attack one."""

import shutil
from pathlib import Path

import pytest
from support import tiny


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is for `make long-test`."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A finished run; nobody changes it."""
    folder = tmp_path_factory.mktemp("hardened") / "run"
    assert tiny.run(folder) == 0
    return folder


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    """A copy of it that a test may ruin."""
    return Path(shutil.copytree(finished, tmp_path / "run", symlinks=True))


@pytest.fixture
def refused(capsys):
    """Calls a command that must be refused: exit code 2, and one sentence, which is returned."""
    from qlrjax import cli

    def call(*words: object) -> str:
        capsys.readouterr()
        code = cli.main([str(word) for word in words])
        said = capsys.readouterr()
        assert code == 2, said
        sentences = [line for line in said.err.splitlines() if line.startswith("qlrjax ")]
        assert len(sentences) == 1, said.err
        assert "Traceback" not in said.err
        return sentences[0]

    return call
