"""Whether scores of so many classes and pixels fit into this machine's memory."""

from __future__ import annotations

import os

from fcnproto.errors import CrfError

COPIES = 6
"""Arrays of classes × pixels that inference holds at once, at most."""

_FLOAT = 4  # bytes


def check_memory(classes: int, height: int, width: int, *, copies: int) -> None:
    """CrfError if `copies` float32 arrays of classes × height × width are more than memory holds.

    Where a system does not say how much it has, nothing is checked.
    """
    needed = classes * height * width * _FLOAT * copies
    try:
        held = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return
    if 0 < held < needed:
        raise CrfError(
            f"{classes} classes at {height}×{width} pixels take {needed / 1e9:.1f} GB, more than"
            f" the {held / 1e9:.1f} GB of memory: a smaller image (or tiles) or fewer classes are"
            " needed"
        )
