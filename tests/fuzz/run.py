"""Damaged files of every kind: what their readers make of them.

    python -m tests.fuzz.run [--seconds 600] [--count 400] [--seed 0] [--kind NAME …]
    python -m tests.fuzz.run --kind NAME --seed S --number N     # one version again

Readers run in forked processes: damage may bring a library down. Outcomes of a version:

same, refused   read as the whole file is; refused by a user's error that names the file
other           read as another file of its kind, where nothing can tell: foreign forms have no
                checksums, and a forged version has checksums that fit
silent          the same of a file that has checksums
unnamed         refused without the name of the file
traceback, crash, hang (over SECONDS), memory (over MEMORY, or more asked for than GUARD)

All but the first three are defects: printed with the command that repeats them, their files kept.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import faulthandler
import gc
import hashlib
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ames_lite.errors import UserError
from ames_lite.runtime import peak_memory_mib
from tests.fuzz.kinds import Kind, every_kind
from tests.fuzz.mutations import Version, version

SECONDS = 10  # for one version of one file
MEMORY = 1 << 10  # MiB that a reader may take above what it began with
GUARD = 4 << 30  # bytes of address space above that, which nobody gets
FINE = ("same", "refused", "other")
DEFECTS = ("silent", "unnamed", "traceback", "crash", "hang", "memory")
ROUND = 60  # versions of a kind that are read before the next kind's turn
NO_MEMORY = re.compile(r"allocation failed|(unable to|can.t|cannot) allocate|enough memory", re.I)


class Outcome(NamedTuple):
    """What became of a version; said: how it was made, and of a defect what was seen."""

    number: int
    what: str
    said: str
    peak: float  # MiB, of the process until then


@dataclasses.dataclass
class Found:
    """Of one kind: how often which outcome came, the peak, and the defects."""

    ours: bool
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    peak: float = 0.0
    seconds: float = 0.0
    defects: list[Outcome] = dataclasses.field(default_factory=list)

    def add(self, came: Sequence[Outcome]) -> None:
        self.counts.update(one.what for one in came)
        self.peak = max([self.peak, *(one.peak for one in came)])
        self.defects += [one for one in came if one.what in DEFECTS]

    def plain(self) -> dict[str, Any]:
        counts = {what: self.counts[what] for what in (*FINE, *DEFECTS)}
        return {
            "ours": self.ours,
            "inputs": self.counts.total(),
            **counts,
            "peak_mib": round(self.peak),
            "seconds": round(self.seconds, 1),
        }


class Fuzzed:
    """A kind in a folder of its own: the whole file, and damaged versions of it."""

    def __init__(self, kind: Kind, folder: Path, seed: int = 0) -> None:
        self.kind, self.folder, self.seed = kind, folder, seed
        self.path, self.log = kind.path(folder), folder / "outcomes"
        folder.mkdir(parents=True, exist_ok=True)
        kind.write(self.path)
        self.bytes = self.path.read_bytes()
        self.whole = fingerprint(kind.read(self.path))  # here, so that forks find all imported

    def outcomes(self, numbers: Sequence[int]) -> list[Outcome]:
        """Of these versions; a process that ends early is followed by another."""
        found: list[Outcome] = []
        while len(found) < len(numbers):
            left = numbers[len(found) :]
            self.log.write_text("")
            ended_by = forked(lambda left=left: self._read_all(left), GUARD)  # type: ignore[misc]
            came = self._noted()
            if not came:
                raise RuntimeError(f"version {left[0]} of {self.kind.name} cannot be made")
            if came[-1].what == "begun":  # its reader has ended the process
                what = "hang" if ended_by == signal.SIGALRM else "crash"
                came[-1] = came[-1]._replace(what=what)
                self._keep(came[-1])
            found += came
        return found

    @classmethod
    def in_one_process(
        cls, files: Sequence[Fuzzed], numbers: Sequence[int]
    ) -> dict[str, list[Outcome]]:
        """Of these versions of several kinds, by kind: a process takes longer than a few files.

        Kinds that did not come to an end in it are read again, each in processes of its own.
        """
        for one in files:
            one.log.write_text("")
        forked(lambda: [one._read_all(numbers) for one in files], GUARD)
        found = {}
        for one in files:
            came = one._noted()
            ended = len(came) == len(numbers) and came[-1].what != "begun"
            found[one.kind.name] = came if ended else one.outcomes(numbers)
        return found

    def _noted(self) -> list[Outcome]:
        """What became of the versions that the last process read; the last may just have begun."""
        came = [Outcome(*json.loads(line)) for line in self.log.read_text().splitlines()]
        return [one for one in came[:-1] if one.what != "begun"] + came[-1:]

    def _read_all(self, numbers: Sequence[int]) -> None:
        with suppress(OSError):  # not the peak of the process that this one is a copy of
            Path("/proc/self/clear_refs").write_text("5")
        start, peak = peak_memory_mib(), 0.0
        with self.log.open("a") as file:

            def note(*outcome: Any) -> None:
                file.write(json.dumps(outcome) + "\n")
                file.flush()

            for number in numbers:
                one = version(self.path, self.kind.name, self.bytes, number, self.seed)
                self.path.write_bytes(one.content)
                note(number, "begun", one.said, peak)
                signal.alarm(SECONDS)
                what, said = self.outcome(one)
                signal.alarm(0)
                peak = peak_memory_mib() - start
                outcome = Outcome(number, "memory" if peak > MEMORY else what, said, peak)
                if outcome.what in DEFECTS:
                    self._keep(outcome)
                note(*outcome)
                if peak > MEMORY:  # the peak of a process does not fall: another one goes on
                    return

    def _keep(self, defect: Outcome) -> None:
        """The file as it is, and the command that makes it again."""
        kept = self.folder.parent / "defects"
        kept.mkdir(exist_ok=True)
        copy = kept / f"{self.folder.name}_{self.seed}_{defect.number}{self.path.suffix}"
        copy.write_bytes(self.path.read_bytes())
        again = f'--kind "{self.kind.name}" --seed {self.seed} --number {defect.number}'
        said = f"{defect.what}: {self.kind.name}, {defect.said}"
        print(f"{said}\n  again: python -m tests.fuzz.run {again}", flush=True)

    def outcome(self, one: Version) -> tuple[str, str]:
        """What becomes of reading the file, which is that version."""
        try:
            same = fingerprint(self.kind.read(self.path)) == self.whole
        except UserError as error:
            if out_of_memory(error):
                return "memory", f"{one.said}: {error!s:.300}"
            named = str(self.folder) in str(error) or self.path.suffix == ".yaml"  # by their keys
            return ("refused", one.said) if named else ("unnamed", f"{one.said}: {error!s:.300}")
        except Exception as error:  # noqa: BLE001 - to be counted
            seen = "".join(traceback.format_exception(error)[-3:])
            kind = "memory" if out_of_memory(error) else "traceback"
            return kind, f"{one.said}: {type(error).__name__}: {seen}"
        if same:
            return "same", one.said
        return ("silent" if self.kind.ours and not one.forged else "other"), one.said


def forked(work: Callable[[], object], guard: int) -> int:
    """Do it in a process of its own; the signal that ended it, or 0.

    It ends as a program in C does, so that HDF5 closes what is open; Python's end would take longer
    than the work, as it touches every object that is shared with this process.

    guard: bytes of address space that it may add.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    try:
        faulthandler.disable()  # what ends it is counted
        gc.freeze()  # a collection would touch them too
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + guard
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        work()
    except BaseException:  # noqa: BLE001 - of the harness itself
        traceback.print_exc()
        os._exit(1)
    ctypes.CDLL(None).exit(0)
    raise AssertionError


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it follows from, is that of memory that was not given."""
    while error is not None:
        if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def fingerprint(value: object) -> str:
    """Equal for what is read alike, to the bit."""
    return hashlib.sha256("\n".join(_parts(value)).encode("utf-8", "replace")).hexdigest()


def _parts(value: object) -> Iterator[str]:
    if isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape} {_numbers(value)}"
    elif isinstance(value, Mapping):
        yield from _parts(sorted(value.items(), key=lambda item: str(item[0])))
    elif isinstance(value, list | tuple):
        yield f"{len(value)}"
        for part in value:
            yield from _parts(part)
    elif dataclasses.is_dataclass(value):
        yield from _parts(vars(value))
    else:
        yield repr(value)


def _numbers(values: Any) -> str:
    return (
        repr(values.tolist())
        if values.dtype.hasobject
        else hashlib.sha256(np.ascontiguousarray(values)).hexdigest()
    )


def fuzz(
    chosen: Sequence[Kind], folder: Path, seed: int, seconds: float, count: int
) -> dict[str, Found]:
    """Rounds over all kinds until the time is over or each has so many versions (0: no limit)."""
    began, first = time.monotonic(), 0
    files = [Fuzzed(one, folder / f"{place:03}", seed) for place, one in enumerate(chosen)]
    found = {one.kind.name: Found(one.kind.ours) for one in files}
    gc.collect()
    while not count or first < count:
        stop = min(first + ROUND, count) if count else first + ROUND
        for one in files:
            if time.monotonic() - began > seconds:
                return found
            start = time.monotonic()
            found[one.kind.name].add(one.outcomes(range(first, stop)))
            found[one.kind.name].seconds += time.monotonic() - start
        first = stop
    return found


def chosen_kinds(names: Sequence[str] | None) -> list[Kind]:
    known = {kind.name: kind for kind in every_kind()}
    unknown = set(names or ()) - set(known)
    if unknown:
        raise SystemExit(f"there is no kind {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names or known]


def _said(given: argparse.Namespace) -> str:
    few = f", {len(given.kind)} kinds" if given.kind else ""
    return f"--seconds {given.seconds:g} --count {given.count} --seed {given.seed}{few}"


def main() -> None:
    """See the head of the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--count", type=int, default=0, help="versions of each kind, 0: no limit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append")
    parser.add_argument("--number", type=int, help="this version alone")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--out", type=Path, help="the counts, as JSON")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="ames_fuzz_"))
    warnings.simplefilter("ignore")
    kinds = chosen_kinds(given.kind)
    if given.number is not None:
        for kind in kinds:
            print(*Fuzzed(kind, folder, given.seed).outcomes([given.number]), sep="\n")
        return
    began = time.monotonic()
    found = fuzz(kinds, folder, given.seed, given.seconds, given.count)
    report = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": f"python -m tests.fuzz.run {_said(given)}",
        "seconds": round(time.monotonic() - began),
        "kinds": {name: one.plain() for name, one in found.items()},
        "defects": {name: one.defects for name, one in found.items() if one.defects},
    }
    if given.out:
        given.out.write_text(json.dumps(report, indent=1) + "\n")
    total = sum((one.counts for one in found.values()), Counter[str]())
    print(f"{total.total()} versions of {len(found)} kinds: {dict(total)}; files in {folder}")
    sys.exit(any(total[what] for what in DEFECTS))


if __name__ == "__main__":
    main()
