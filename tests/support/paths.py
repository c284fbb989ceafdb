"""Where the tests' own files are."""

from pathlib import Path

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
GOLDEN = TESTS / "golden"
"""What real Caffe computed."""
PUBLISHED = TESTS / "published"
"""The nets as they were published."""
