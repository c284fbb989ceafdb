"""Files and folders written whole or not at all, and text files with one thing in each line."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from secrets import token_hex
from zlib import crc32

from fcnproto.errors import DataError, FcnprotoError, Problem, reason

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
        _remove_stale(folder.resolve())
        temporary = _own_place(folder)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield temporary
        if not is_file:
            with temporary.open("rb") as written, target.open("wb") as stream:
                shutil.copyfileobj(written, stream)
            return
        # It is private until here; a new file gets what the user's umask allows.
        temporary.chmod(target.stat().st_mode & 0o7777 if target.exists() else 0o666 & ~_umask())
        if force:
            temporary.replace(target)
        else:
            target.hardlink_to(temporary)  # unlike a rename, this refuses to replace
    except FileExistsError as error:
        raise FcnprotoError(Problem("it exists; --force overwrites it", str(path))) from error
    except OSError as error:
        raise FcnprotoError(Problem(f"cannot be written: {reason(error)}", str(path))) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
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


@contextmanager
def making(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, which becomes `path` when the block ends without an error.

    The folders above it are made too; where the block fails, those that were not there go again.
    Raises FcnprotoError where the folder cannot be written, or if there is one with files in it.
    """
    made = [above for above in path.parents if not above.exists()]
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent.resolve())
        temporary = _own_place(path.parent)
        temporary.mkdir(0o700)
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        temporary.rename(path)
        made = []
    except OSError as error:
        raise FcnprotoError(Problem(f"cannot be written: {reason(error)}", str(path))) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        for above in made:
            with suppress(OSError):
                above.rmdir()


def _own_place(folder: Path) -> Path:
    """A new name in a folder: known before anything is there, since a signal may come then."""
    return folder / f"{_PREFIX}{os.getpid()}-{token_hex(4)}"


def _umask() -> int:
    """What the user's umask forbids: files and folders are private until they are whole."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


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


@cache
def _remove_stale(folder: Path) -> None:
    """Remove what processes that are gone left: one that is killed cannot do it itself.

    Once for each folder, which may come to hold a million results: each would have all be read.
    """
    with suppress(OSError):
        for entry in os.scandir(folder):
            match = _STALE.fullmatch(entry.name)
            if match and not _is_running(int(match[1])):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, without the space around them; DataError if it is none."""
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DataError(Problem(f"cannot be read: {reason}", str(path))) from error
