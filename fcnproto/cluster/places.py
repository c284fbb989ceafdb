"""Files and folders on any file system that pyarrow or fsspec opens, as values."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

import fsspec
import pyarrow as pa
from pyarrow import fs

from fcnproto.errors import FcnprotoError, Problem, reason

MOST_BYTES = 2**30
"""No larger file is read as an image."""

_ARROW = ("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")
_WHOLE_AT_ONCE = ("s3", "gcs", "abfs", "gs", "s3a", "az", "adl", "oci", "oss", "memory")
_READS = 2**20
_LOCAL = fs.LocalFileSystem()
_UNFINISHED = ".fcnproto-unfinished"


class PlaceError(FcnprotoError):
    """A file that is not there, or cannot be reached."""


@dataclass(frozen=True)
class Place:
    """A file or folder: a path below the root of a file system, and what is around it in a name."""

    system: fs.FileSystem
    path: str
    root: str = ""
    before: str = ""
    after: str = ""

    @classmethod
    def of(cls, text: str, base: str = "/") -> Place:
        """From an address such as s3://bucket/key, or a path, which is relative to `base`.

        Raises PlaceError if there is no such kind of file system, or if it cannot be reached.
        """
        address = urlsplit(text) if "://" in text else None
        if address is None or not address.scheme:
            return cls(_LOCAL, os.path.abspath(os.path.join(base, text)))  # noqa: PTH100, PTH118
        if address.password is not None:
            message = "has a password, which would be recorded: give it in the environment"
            raise PlaceError(Problem(message, text.replace(f":{address.password}@", ":…@")))
        try:
            if address.scheme == "file":
                return cls(_LOCAL, os.path.abspath(unquote(address.path)))  # noqa: PTH100
            if address.scheme in _ARROW:
                text, _, query = text.partition("?")
                before, after = f"{address.scheme}://{address.netloc}", f"?{query}" if query else ""
                path = unquote(text.removeprefix(before)).rstrip("/")
                return cls(*_opened(before, after, path), before, after)
            system, path = fsspec.core.url_to_fs(text)
            name = system.unstrip_protocol(path)
            wrapped = fs.PyFileSystem(fs.FSSpecHandler(system))
            return cls(wrapped, path.rstrip("/"), "", name.removesuffix(path))
        except Exception as error:  # each file system has errors of its own
            raise PlaceError(Problem(f"cannot be opened: {reason(error)}", text)) from error

    def __str__(self) -> str:
        path = quote(self.path) if self.before and self._is_arrow else self.path
        return f"{self.before}{path}{self.after}"

    @property
    def full(self) -> str:
        """Its path on the file system."""
        return f"{self.root}{self.path}" or "/"

    @property
    def local(self) -> Path | None:
        """Its path, where it is on a file system of the machine."""
        return Path(self.path) if isinstance(self.system, fs.LocalFileSystem) else None

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.path).name

    @property
    def stem(self) -> str:
        """The same without its ending."""
        return PurePosixPath(self.path).stem

    @property
    def suffix(self) -> str:
        """Its ending, in lower case."""
        return PurePosixPath(self.path).suffix.lower()

    @property
    def parent(self) -> Place:
        """The folder that it is in."""
        return replace(self, path=str(PurePosixPath(self.path).parent).rstrip("/"))

    def child(self, name: str) -> Place:
        """What is called so in this folder."""
        return replace(self, path=f"{self.path.rstrip('/')}/{name}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Place.of, (str(self),)

    @property
    def is_own(self) -> bool:
        """Whether it is in this process's memory, which no other sees."""
        return isinstance(self.system, fs.PyFileSystem) and "memory" in _protocols(self.system)

    @property
    def _is_arrow(self) -> bool:
        return not isinstance(self.system, fs.PyFileSystem)

    def kind(self) -> str:
        """What is there: file, folder, or nothing. Raises PlaceError if that cannot be said."""
        with self._reached():
            found = self.system.get_file_info(self.full).type
        return {fs.FileType.File: "file", fs.FileType.Directory: "folder"}.get(found, "")

    def children(self) -> Iterator[tuple[Place, bool]]:
        """What is in a folder, and whether each is a folder.

        On the machine they come as the file system gives them, and are never all in memory.
        Raises PlaceError if the folder cannot be read.
        """
        with self._reached():
            if self.local is not None:
                with os.scandir(self.full) as entries:
                    for entry in entries:
                        yield self.child(entry.name), entry.is_dir()
                return
            for info in self.system.get_file_info(fs.FileSelector(self.full)):
                yield self.child(PurePosixPath(info.path).name), info.type is fs.FileType.Directory

    def read(self) -> bytes:
        """Its bytes. Raises PlaceError if it cannot be read, or has more than any image."""
        with self._reached(), self.system.open_input_stream(self.full) as stream:
            content: bytes = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise PlaceError(Problem(f"has more than {MOST_BYTES >> 20} MB", str(self)))
        return content

    def lines(self) -> Iterator[bytes]:
        """Its lines, without their ends, of which few are in memory."""
        rest = b""
        with self._reached(), self.system.open_input_stream(self.full) as stream:
            while part := stream.read(_READS):
                *lines, rest = (rest + part).split(b"\n")
                yield from lines
        yield rest

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Whatever a file system raises becomes one line."""
        try:
            yield
        except FcnprotoError:
            raise
        except (OSError, pa.ArrowException, ValueError) as error:
            raise PlaceError(Problem(f"cannot be read: {reason(error)}", str(self))) from error
        except Exception as error:  # fsspec's file systems have errors of their own
            if self._is_arrow:
                raise
            raise PlaceError(Problem(f"cannot be read: {reason(error)}", str(self))) from error


@dataclass(frozen=True)
class Folder:
    """A folder that results are written into, each whole or not at all."""

    place: Place

    @property
    def unfinished(self) -> Place:
        """Where files are until they are whole."""
        return self.place.child(_UNFINISHED)

    def prepare(self) -> None:
        """Make it, and remove what runs that were killed left unfinished."""
        with self._written(self.place):
            self.place.system.create_dir(self.place.full, recursive=True)
            self.clean()
            if self._renames:
                self.place.system.create_dir(self.unfinished.full)

    def clean(self) -> None:
        """Remove what is unfinished."""
        with suppress(FileNotFoundError):
            self.place.system.delete_dir(self.unfinished.full)

    def write(self, name: str, content: bytes) -> Place:
        """Write a file; FcnprotoError if it cannot be written.

        Object stores show an object when it is whole; elsewhere a file is renamed when it is.
        """
        target, system = self.place.child(name), self.place.system
        with self._written(target):
            if not self._renames:
                with system.open_output_stream(target.full) as stream:
                    stream.write(content)
                return target
            temporary = self.unfinished.child(uuid4().hex)
            with system.open_output_stream(temporary.full) as stream:
                stream.write(content)
            system.move(temporary.full, target.full)
        return target

    @property
    def _renames(self) -> bool:
        system = self.place.system
        if isinstance(system, fs.PyFileSystem):
            return not _protocols(system) & set(_WHOLE_AT_ONCE)
        return system.type_name not in _WHOLE_AT_ONCE

    @contextmanager
    def _written(self, target: Place) -> Iterator[None]:
        try:
            yield
        except FcnprotoError:
            raise
        except Exception as error:  # each file system has errors of its own
            raise FcnprotoError(
                Problem(f"cannot be written: {reason(error)}", str(target))
            ) from error


def _protocols(system: fs.PyFileSystem) -> set[str]:
    """What fsspec calls a file system of its own."""
    names = system.handler.fs.protocol
    return {names} if isinstance(names, str) else set(names)


@cache
def _at(root: str) -> tuple[fs.FileSystem, str]:
    """A file system of pyarrow, which takes time to connect, and the path of an address on it."""
    system, path = fs.FileSystem.from_uri(root)
    return system, path.rstrip("/")


def _opened(before: str, after: str, path: str) -> tuple[fs.FileSystem, str, str]:
    system, root = _at(f"{before}/{after}")
    return system, path, root
