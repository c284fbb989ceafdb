from pathlib import Path

import pytest
from paths import TESTS


@pytest.fixture(scope="session")
def golden() -> Path:
    """What real Caffe computed."""
    return TESTS / "golden"


@pytest.fixture(scope="session")
def published() -> Path:
    """The nets as they were published."""
    return TESTS / "published"
