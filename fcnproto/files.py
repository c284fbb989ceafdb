"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fcnproto.errors import FcnprotoError, Problem


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, which takes its place when the block ends without an error.

    A link stays a link: what it leads to is replaced. A device or a pipe is written into. Raises
    FcnprotoError where the file cannot be written; the temporary file never stays.
    """
    temporary = None
    try:
        target = path.resolve() if path.is_symlink() else path
        special = target.exists() and not (target.is_file() or target.is_dir())
        # The name is short, so that one of 255 bytes, the longest there is, can be written too.
        handle, name = tempfile.mkstemp(prefix=".fcnproto-", dir=None if special else target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        if special:
            with temporary.open("rb") as source, target.open("wb") as sink:
                while block := source.read(1 << 20):
                    sink.write(block)
            return
        # mkstemp makes files private; a new file gets what the user's umask allows.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~mask)
        temporary.replace(target)
    except OSError as error:
        raise FcnprotoError(
            Problem(f"cannot be written: {error.strerror or error}", str(path))
        ) from error
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                temporary.unlink()
