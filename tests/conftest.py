from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def golden() -> Path:
    """What real Caffe computed."""
    return HERE / "golden"


@pytest.fixture(scope="session")
def published() -> Path:
    """The nets as they were published."""
    return HERE / "published"
