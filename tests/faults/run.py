"""Every stage under faults: killed at calls that write, and refused by the disk.

    python -m tests.faults.run [seconds=1800] [seed=0] [only=<fault>] [out=…] [doc=<page>] [stage …]

prints a table and writes it, with every trial that failed, as JSON; with doc=, its part of a page.
only: one kind of fault, such as SIGKILL or "SIGKILL twice". The calls of each stage are tried in an
order that seed= draws, until its share of seconds= is over.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.injection import KILL, LIMIT, ONCE, Server
from tests.faults.stages import STAGES, make_world
from tests.faults.trials import DISK, Outcome, Trials

FULL = ("ENOSPC", "ENOSPC" + ONCE)
BEGIN, END = "<!-- faults: written by make faults -->", "<!-- end of faults -->"
SAID = """## Faults

Of {date}, seed {seed}, on a world of two dozen small images. Calls: those of a stage that write
files. At a call the process is killed (SIGKILL), or that call and all later ones fail (once: that
one alone); twice: the same command is killed again, at another call; RLIMIT_FSIZE bounds the size
of files. A trial counts where the refusal is one message that names the error, the file and a
fitting remedy, no file under its final name is half written, and the same command again exits with
0 and gives what an unbroken run gives; 3/4: 3 of 4 trials."""
LIMITS = (5000, 20000, 60000)  # bytes of the largest file
TWICE = " twice"  # behind KILL: the next run is killed too
Fault = tuple[str, tuple[int, ...]]  # its kind; the calls, or bytes, of one run after the other


def plan(calls: int, generator: random.Random) -> list[Fault]:
    """Faults at calls 1 to `calls`, each kind in a random order, kills first of every round."""
    rounds: list[list[Fault]] = []
    for kind in (KILL, *FULL):
        rounds.append([(kind, (at,)) for at in generator.sample(range(1, calls + 1), calls)])
    pairs = zip(*(generator.sample(range(1, calls + 1), calls) for _ in range(2)), strict=True)
    rounds.append([(KILL + TWICE, pair) for pair in pairs])
    others: list[Fault] = [(kind, (generator.randint(1, calls),)) for kind in DISK[1:]]
    others += [(LIMIT, (size,)) for size in LIMITS]
    mixed = [one for four in zip(*rounds, strict=True) for one in four]
    return [*mixed[:4], *others, *mixed[4:]]


def try_stage(trials: Trials, faults: Sequence[Fault], until: float) -> list[Outcome]:
    found: list[Outcome] = []
    for fault, at in faults:
        if found and time.monotonic() > until:
            break
        found.append(trials.try_one(fault.removesuffix(TWICE), *at)._replace(fault=fault))
        if found[-1].wrong:
            print(f"  {fault} at {at}: {found[-1].wrong}", flush=True)
    return found


def row(calls: int, found: Sequence[Outcome]) -> dict[str, Any]:
    tried, fine = (
        Counter(one.fault for one in found),
        Counter(one.fault for one in found if not one.wrong),
    )
    kinds = {kind: f"{fine[kind]}/{tried[kind]}" for kind in tried}
    return {
        "calls": calls,
        "faults": kinds,
        "failed": [one._asdict() for one in found if one.wrong],
    }


def write_part(page: Path, result: dict[str, Any]) -> None:
    """Put the table between its marks on a page; they are added where they are not there."""
    stages = result["stages"]
    kinds = list(dict.fromkeys(kind for one in stages.values() for kind in one["faults"]))
    rows = [["stage", "calls", *kinds]]
    rows += [
        [name, str(one["calls"]), *(one["faults"].get(kind, "–") for kind in kinds)]
        for name, one in stages.items()
    ]
    rows.insert(1, ["---"] * len(rows[0]))
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    said = SAID.format(date=result["date"], seed=result["seed"])
    part = f"{BEGIN}\n{said}\n\n{table}\n{END}"
    text = page.read_text(encoding="utf-8") if page.is_file() else "# Reliability\n"
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2].lstrip("\n")
    page.write_text(f"{before.rstrip()}\n\n{part}\n" + f"\n{after}" * bool(after), encoding="utf-8")


def main(words: Sequence[str]) -> int:
    given = dict(word.split("=") for word in words if "=" in word)
    names = [word for word in words if "=" not in word] or list(STAGES)
    seconds, seed = float(given.get("seconds", 1800)), int(given.get("seed", 0))
    only = given.get("only", "")
    folder = Path(given.get("folder") or tempfile.mkdtemp(prefix="faults."))
    table: dict[str, Any] = {}
    with Server(folder / "server") as server:
        world, base = folder / "world", folder / "trial"
        if not world.is_dir():
            shutil.rmtree(base, ignore_errors=True)
            make_world(server, base)
            base.rename(world)
        began = time.monotonic()
        for number, name in enumerate(names):
            now = time.monotonic()
            left = began + seconds - now
            until = now + left / (len(names) - number)
            trials = Trials(server, name, STAGES[name], world, base)
            faults = plan(trials.calls, random.Random(f"{seed} {name}"))
            faults = [one for one in faults if only in ("", one[0])]
            found = try_stage(trials, faults, until)
            table[name] = row(trials.calls, found)
            kinds = ", ".join(f"{kind} {count}" for kind, count in table[name]["faults"].items())
            print(f"{name}: {trials.calls} calls; {kinds}", flush=True)
    result = {"date": time.strftime("%Y-%m-%d"), "seed": seed, "seconds": seconds, "stages": table}
    Path(given.get("out", "faults.json")).write_text(json.dumps(result, indent=1) + "\n")
    if "doc" in given:
        write_part(Path(given["doc"]), result)
    if "folder" not in given:
        shutil.rmtree(folder)
    return int(any(one["failed"] for one in table.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
