"""Writing files whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

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


LONGEST_NAME = 255  # bytes, of a file's name


def beside(path: Path, ending: str) -> Path:
    """A file beside `path`, called as it is but for its ending: <stem><ending>.

    What stands in the way of a name, such as a slash, becomes _; of one that is longer than file
    systems take the middle is left out, and a sum of it all put there.
    """
    name = path.stem + re.sub(r"[/\0]", "_", ending)
    whole = os.fsencode(name)
    if len(whole) > LONGEST_NAME:
        last = f"~{crc32(whole):08x}{Path('x' + ending).suffix[:10]}"
        name = whole[: LONGEST_NAME - len(os.fsencode(last))].decode("utf-8", "ignore") + last
    return path.with_name(name)


def _remove_stale(folder: Path) -> None:
    """Remove temporary files whose process is gone: one that is killed cannot do it itself."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            match = _STALE.fullmatch(entry.name)
            if match and not _is_running(int(match[1])):
                Path(entry.path).unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
