"""Models as engines compiled them, kept in the user's cache folder.

An entry is a folder that appears whole or not at all, named by all that the compiled model depends
on. The digests of its files stand in it: what is half-written, changed or foreign is compiled anew.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path

MOST = 4 * 2**30
"""Bytes that are kept; of more, what was not used for the longest time goes."""

_MODEL, _DIGESTS = "model.onnx", "digests.json"


def cache_folder() -> Path:
    """Where compiled models lie; FCNPROTO_CACHE names another folder than the user's."""
    import pooch  # type: ignore[import-untyped]

    return Path(os.environ.get("FCNPROTO_CACHE") or pooch.os_cache("fcnproto")) / "compiled"


def digest_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class CachePlace:
    """A compiled model's place in the cache."""

    folder: Path
    key: str

    @classmethod
    def of(cls, model: Path, about: Mapping[str, str], folder: Path | None = None) -> CachePlace:
        """The place of a model for an engine, its version and its options."""
        facts = json.dumps({**about, "model": digest_of(model)}, sort_keys=True)
        return cls(folder or cache_folder(), sha256(facts.encode()).hexdigest()[:32])

    @property
    def path(self) -> Path:
        """The compiled model."""
        return self.folder / self.key / _MODEL

    def is_whole(self) -> bool:
        """Whether the compiled model is there, as it was written."""
        place = self.folder / self.key
        try:
            digests = json.loads((place / _DIGESTS).read_bytes())
            names = {each.name for each in place.iterdir()} - {_DIGESTS}
            whole = _MODEL in digests and names == set(digests)
            whole = whole and all(digest_of(place / name) == digests[name] for name in names)
        except (OSError, ValueError, TypeError):
            return False
        if whole:
            with suppress(OSError):
                os.utime(place)  # it is used
        return whole

    def drop(self) -> None:
        """Forget the compiled model."""
        shutil.rmtree(self.folder / self.key, ignore_errors=True)

    def write(self, compile_to: Callable[[Path], None]) -> bool:
        """Have a model compiled to a path, and keep it with all that is written beside it.

        Gives whether it is there now. Raises what `compile_to` raises.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=".", dir=self.folder))
        except OSError:
            return False  # where there is no room for a cache, there is none
        try:
            compile_to(temporary / _MODEL)
            digests = {each.name: digest_of(each) for each in temporary.iterdir()}
            (temporary / _DIGESTS).write_text(json.dumps(digests))
            self.drop()
            temporary.rename(self.folder / self.key)
        except OSError:
            return self.is_whole()  # another process may have been quicker
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._make_room()
        return True

    def _make_room(self) -> None:
        with suppress(OSError):
            entries = sorted(self.folder.iterdir(), key=lambda each: -each.stat().st_mtime)
            total = 0
            for entry in entries:
                total += sum(file.stat().st_size for file in entry.iterdir())
                if total > MOST and entry.name != self.key:
                    shutil.rmtree(entry, ignore_errors=True)
