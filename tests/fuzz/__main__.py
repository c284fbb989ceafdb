"""python -m tests.fuzz TARGET --minutes M: fuzz a target, and keep what fails in the corpus."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

from tests.fuzz import record
from tests.fuzz.bounds import Failure
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
_LIMITS = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class _Done:
    inputs: int = 0
    since: int = 0
    cpu: float = 0

    def then(self, more: _Done, died: bool) -> _Done:
        """Both one after the other."""
        since = more.since if more.since < more.inputs else self.since + more.since
        return _Done(self.inputs + more.inputs, 0 if died else since, self.cpu + more.cpu)


@click.command()
@click.argument("names", metavar="TARGET…", nargs=-1)
@click.option("--minutes", type=float, default=1, show_default=True, help="For each target.")
@click.option("--inputs", type=int, help="At the most, for each target.")
@click.option("--blind", is_flag=True, help="Three times as many, not led by what they reach.")
def main(names: tuple[str, ...], minutes: float, inputs: int | None, blind: bool) -> None:
    """Fuzz each TARGET, one after the other, or all; without any, list them."""
    if not names:
        click.echo("\n".join(TARGETS))
        return
    failed = False
    for name in TARGETS if names == ("all",) else names:
        if name not in TARGETS:
            raise click.BadParameter(f"there is no target '{name}'", param_hint="TARGET")
        failed = _fuzz(name, 60 * minutes, inputs, blind) or failed
    if failed:
        sys.exit(1)


def _fuzz(name: str, seconds: float, inputs: int | None, blind: bool) -> bool:
    """Fuzz a target in processes of its own; whether anything was found."""
    done, end = _Done(), time.monotonic() + seconds
    shared = Path("/dev/shm")  # files of inputs need no disk
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        work = Path(folder)
        (work / "found").mkdir()
        while (left := end - time.monotonic()) > 1 and (inputs is None or done.inputs < inputs):
            more = -1 if inputs is None else inputs - done.inputs
            died = _run(name, work, int(left), more, blind)
            done = done.then(_counted(work), died)
            if died and not _keep_the_last(work):
                raise click.ClickException(f"{name}: the process cannot start; see above")
        found = _keep(name, work / "found")
    click.echo(f"{name}: {done.inputs} inputs, {done.cpu:.0f} s of processor time, {found} kinds")
    record.add(name, done.inputs, done.since, done.cpu, found)
    return found > 0


def _run(name: str, work: Path, seconds: int, inputs: int, blind: bool) -> bool:
    """One process; whether it died."""
    for old in ("count.json", "current"):
        (work / old).unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.worker",
        name,
        str(work),
        str(seconds),
        str(inputs),
        *(["blind"] if blind else []),
    ]
    ended = subprocess.run(command, env={**os.environ, **_LIMITS}, stdout=subprocess.DEVNULL,
                           stderr=(work / "log").open("wb"), check=False)  # fmt: skip
    if ended.returncode:
        click.echo((work / "log").read_text("utf-8", "replace")[-3000:], err=True)
    return ended.returncode != 0


def _counted(work: Path) -> _Done:
    path = work / "count.json"
    return _Done(**json.loads(path.read_text())) if path.exists() else _Done()


def _keep_the_last(work: Path) -> bool:
    """The input at which a process died goes to what was found; False if there was none."""
    current = work / "current"
    if not current.exists():
        return False
    slug = Failure("died", "").slug
    number = len(list((work / "found").glob(f"{slug}*")))
    shutil.copy(current, work / "found" / f"{slug}-{number}")
    return True


def _keep(name: str, found: Path) -> int:
    """What failed joins the corpus, where the tests run it; and say what it was."""
    kinds = sorted(path for path in found.iterdir() if path.suffix != ".txt")
    for path in kinds:
        target = CORPUS / name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        click.echo(f"{name}: {os.path.relpath(target)}", err=True)
        words = path.with_name(path.name + ".txt")
        if words.exists():
            click.echo(words.read_text("utf-8"), err=True)
    return len(kinds)


if __name__ == "__main__":
    main()
