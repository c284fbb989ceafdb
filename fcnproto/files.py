"""Writing files whole or not at all."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fcnproto.errors import FcnprotoError, Problem

_PREFIX = ".fcnproto-"
_STALE = re.compile(re.escape(_PREFIX) + r"(\d+)-\w+", re.ASCII)


@contextmanager
def replacing(path: Path, *, force: bool = True) -> Iterator[Path]:
    """A temporary file beside `path`, which takes its place when the block ends without an error.

    A link stays one, and what it leads to is replaced; a device or a pipe is written to. Without
    `force` a file that is there, or that another process makes meanwhile, is left alone, which is
    an error. Raises FcnprotoError where the file cannot be written; the temporary file never
    stays, and those of processes that were killed are removed.
    """
    temporary = None
    try:
        target = path.resolve() if path.is_symlink() else path
        is_file = not target.exists() or stat.S_ISREG(target.stat().st_mode)
        folder = target.parent if is_file else Path(tempfile.gettempdir())
        _remove_stale(folder)
        handle, name = tempfile.mkstemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=folder)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        if not is_file:
            with temporary.open("rb") as written, target.open("wb") as stream:
                shutil.copyfileobj(written, stream)
            return
        # mkstemp makes files private; a new file gets what the user's umask allows.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~mask)
        if force:
            temporary.replace(target)
        else:
            target.hardlink_to(temporary)  # unlike a rename, this refuses to replace
    except FileExistsError as error:
        raise FcnprotoError(Problem("it exists; --force overwrites it", str(path))) from error
    except OSError as error:
        raise FcnprotoError(
            Problem(f"cannot be written: {error.strerror or error}", str(path))
        ) from error
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                temporary.unlink()


def own_folder() -> Path:
    """A folder for temporary files, which is removed when the process ends.

    Those of processes that were killed are removed now.
    """
    place = Path(tempfile.gettempdir())
    _remove_stale(place)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=place))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _remove_stale(folder: Path) -> None:
    """Remove temporary files whose process is gone: one that is killed cannot do it itself."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            match = _STALE.fullmatch(entry.name)
            if match and not _is_running(int(match[1])):
                remove = shutil.rmtree if entry.is_dir(follow_symlinks=False) else os.unlink
                remove(entry.path)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
