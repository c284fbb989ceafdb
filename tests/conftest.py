from pathlib import Path

import pytest
import stand_ins
from paths import TESTS


@pytest.fixture(scope="session")
def golden() -> Path:
    """What real Caffe computed."""
    return TESTS / "golden"


@pytest.fixture(scope="session")
def published() -> Path:
    """The nets as they were published."""
    return TESTS / "published"


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small stand-ins for the files that docs and help speak of; copy them to use them."""
    folder = tmp_path_factory.mktemp("stand-ins")
    stand_ins.make(folder)
    return folder
