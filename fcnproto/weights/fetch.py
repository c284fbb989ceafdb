"""The published weights, fetched into a cache folder and checked.

pooch does the retries, the checksums and the cache; what it lacks, going on where a cut connection
stopped, is a downloader of ours in the form that pooch asks for.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcnproto import weights
from fcnproto.errors import Problem, Severity, WeightsError, nearest
from fcnproto.files import replacing
from fcnproto.zoo import specs

# pooch and requests are heavy, and wanted only where something is fetched: every verb that takes
# weights asks here where they lie.
if TYPE_CHECKING:
    import requests

OURS = "BSD-2-Clause, as fcnproto"
"""The licence of the weights that come with the package."""

_CHUNK = 2**16  # what a cut connection can lose
_PATIENCE = 30  # seconds without a byte


@dataclass(frozen=True)
class Published:
    """A published weight file: where it lies, its checksum (`sha1:…`) where one is known, whose."""

    name: str
    file: str
    url: str
    checksum: str | None
    licence: str


@dataclass(frozen=True)
class Fetched:
    """A file in the cache, and what there is to know of it."""

    path: Path
    notes: tuple[Problem, ...]
    licence: str


def published(models: Path = specs.MODELS) -> dict[str, Published]:
    """Every published weight file, by the name of its net; one file can be that of two nets."""
    table = tomllib.loads((models / "weights.toml").read_text("utf-8"))
    url, licence = table.pop("url"), table.pop("licence")
    return {
        name: Published(
            name,
            entry["file"],
            f"{entry.get('url', url)}/{entry['file']}",
            entry.get("checksum"),
            entry.get("licence", licence),
        )
        for first, entry in table.items()
        for name in (first, entry.get("also"))
        if name is not None
    }


def cache_folder() -> Path:
    """Where fetched files lie: the user's cache folder."""
    import pooch  # type: ignore[import-untyped]

    return Path(pooch.os_cache("fcnproto"))


def shipped(name: str) -> Path | None:
    """The weights that come with the package for a net of the zoo, if there are any."""
    here = {path.stem: path for path in (specs.MODELS / "nets").glob("*.caffemodel")}
    return here.get(name)


def available() -> list[str]:
    """The nets whose weights are published, or come with the package."""
    here = (path.stem for path in (specs.MODELS / "nets").glob("*.caffemodel"))
    return sorted({*published(), *here})


def locate(name: str) -> Path:
    """The file that a WEIGHTS argument means: a path, or a net with weights shipped or fetched.

    Raises WeightsError for a net whose weights have not been fetched yet.
    """
    known = published()
    if Path(name).exists():
        return Path(name)
    if name not in known:
        return shipped(name) or Path(name)
    path = cache_folder() / known[name].file
    if not path.exists():
        raise WeightsError(f"the weights of '{name}' are not here yet: fcnproto fetch {name}")
    return path


def fetch(
    name: str, url: str | None = None, cache: Path | None = None, retries: int = 3
) -> Fetched:
    """Fetch a net's published weights, unless they are in the cache already or come with us.

    `url` is a mirror: the folder that holds the file, or the file itself. A file whose checksum
    nobody published is taken as it comes the first time, if it is a whole weight file; what it then
    was is recorded beside it, and holds from then on.

    Raises WeightsError for a net without published weights, where the file cannot be fetched, and
    where it is not what it should be; what was fetched until then stays, and the
    next call continues there.
    """
    known = published()
    here = shipped(name)
    if here is not None:
        return Fetched(here, (), OURS)
    if name not in known:
        raise WeightsError(
            f"there are no published weights of '{name}'{nearest(name, list(known))};"
            f" there are those of {', '.join(known)}"
        )
    item, folder = known[name], cache or cache_folder()
    record = folder / f"{item.file}.checksum"
    checksum = item.checksum or _recorded(record)
    path = _download(item, _address(item, url), folder, checksum, retries)
    if checksum is not None:
        return Fetched(path, (), item.licence)
    try:
        weights.load(path)
    except WeightsError:
        path.unlink()
        raise
    first = f"sha256:{_sha256(path)}"
    with replacing(record) as temporary:
        temporary.write_text(first + "\n", "ascii")
    note = Problem(
        f"nobody published its checksum; from now on it must be {first}, as it was just fetched",
        str(path),
        severity=Severity.WARNING,
    )
    return Fetched(path, (note,), item.licence)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recorded(record: Path) -> str | None:
    """The checksum that a file had when it came the first time."""
    if not record.exists():
        return None
    text = record.read_text("ascii", "replace").strip()
    if not re.fullmatch("sha256:[0-9a-f]{64}", text):
        raise WeightsError(
            Problem("it holds no sha256 checksum; remove it, and it is recorded anew", str(record))
        )
    return text


def _address(item: Published, url: str | None) -> str:
    if url is None:
        return item.url
    return url if url.endswith(".caffemodel") else f"{url.rstrip('/')}/{item.file}"


def _download(item: Published, url: str, folder: Path, checksum: str | None, retries: int) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.ERROR)  # it would tell the tale on stderr
    keeper = pooch.create(
        path=folder,
        base_url="",
        registry={item.file: checksum},
        urls={item.file: url},
        retry_if_failed=retries,
    )
    try:
        keeper.fetch(item.file, downloader=_Resuming(folder / f"{item.file}.part"))
    except ValueError as error:
        raise WeightsError(Problem(f"{_checksums(str(error))} Nothing was kept.", url)) from error
    except requests.RequestException as error:
        raise WeightsError(
            Problem(f"cannot be fetched: {_reason(error)}; what has come so far is kept", url)
        ) from error
    return folder / item.file


def _checksums(text: str) -> str:
    """pooch's own words on hashes that differ, in one line."""
    return " ".join(text.split())


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    cause: BaseException | None = error
    while cause is not None and cause.__context__ is not None:
        cause = cause.__context__
    return " ".join(str(cause).split())


@dataclass(frozen=True)
class _Resuming:
    """A downloader for pooch that goes on from what an earlier attempt left in `partial`.

    It does so only while the server vouches, by the entity tag or the date that came with the
    first part, that the file is still the same.
    """

    partial: Path

    def __call__(self, url: str, output_file: str, _pooch: Any, check_only: bool = False) -> None:
        import requests

        done = self._done()
        answer = requests.get(url, stream=True, timeout=_PATIENCE, headers=self._headers(done))
        with answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                self._forget()
            answer.raise_for_status()
            if answer.status_code != requests.codes.partial_content:
                done = 0
                self._remember(answer.headers)
            self._receive(answer, done)
        self.partial.replace(output_file)
        self._forget()

    @property
    def _validator(self) -> Path:
        return self.partial.with_name(self.partial.name + ".etag")

    def _done(self) -> int:
        """How many bytes are there to continue from."""
        return self.partial.stat().st_size if self._tag() and self.partial.exists() else 0

    def _tag(self) -> str:
        return self._validator.read_text("latin-1") if self._validator.exists() else ""

    def _headers(self, done: int) -> dict[str, str]:
        plain = {"Accept-Encoding": "identity"}  # the bytes of the file, whose number is known
        return plain | {"Range": f"bytes={done}-", "If-Range": self._tag()} if done else plain

    def _remember(self, headers: Mapping[str, str]) -> None:
        tag = headers.get("ETag", "")
        # A weak tag does not vouch for every byte (RFC 9110, section 13.1.5).
        tag = "" if tag.startswith("W/") else tag
        self._validator.write_text(tag or headers.get("Last-Modified", ""), "latin-1")

    def _forget(self) -> None:
        for path in (self.partial, self._validator):
            with suppress(FileNotFoundError):
                path.unlink()

    def _receive(self, answer: Any, done: int) -> None:
        import requests
        from tqdm import tqdm  # type: ignore[import-untyped]

        length = answer.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        with (
            self.partial.open("ab" if done else "wb") as file,
            tqdm(
                total=total,
                initial=done,
                unit="B",
                unit_scale=True,
                desc=self.partial.stem,
                disable=not sys.stderr.isatty(),
            ) as bar,
        ):
            for chunk in answer.iter_content(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            received = file.tell()
        if total is not None and received != total:
            raise requests.ConnectionError(f"it ended after {received} of {total} bytes")
