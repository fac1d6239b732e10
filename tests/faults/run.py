"""Every stage under faults: killed at calls that write, and refused by the disk.

    python -m tests.faults.run [seconds=1800] [seed=0] [every=1] [out=faults.json] [stage …]

prints a table and writes it, with every trial that failed, as JSON. In seconds= the calls of each
stage are tried in an order that seed= draws; every=1 tries all, however long it takes.
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
LIMITS = (5000, 20000, 60000)  # bytes of the largest file


def plan(calls: int, generator: random.Random) -> list[tuple[str, int]]:
    """Faults at calls 1 to `calls`, each kind in a random order, kills first of every round."""
    rounds = []
    for kind in (KILL, *FULL):
        places = list(range(1, calls + 1))
        generator.shuffle(places)
        rounds.append([(kind, at) for at in places])
    others = [(kind, generator.randint(1, calls)) for kind in DISK[1:]]
    others += [(LIMIT, size) for size in LIMITS]
    mixed = [one for three in zip(*rounds, strict=True) for one in three]
    return [*mixed[:3], *others, *mixed[3:]]


def try_stage(trials: Trials, faults: Sequence[tuple[str, int]], until: float) -> list[Outcome]:
    found: list[Outcome] = []
    for fault, at in faults:
        if found and time.monotonic() > until:
            break
        found.append(trials.try_one(fault, at))
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


def main(words: Sequence[str]) -> int:
    given = dict(word.split("=") for word in words if "=" in word)
    names = [word for word in words if "=" not in word] or list(STAGES)
    seconds, seed = float(given.get("seconds", 1800)), int(given.get("seed", 0))
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
            found = try_stage(trials, faults, until)
            table[name] = row(trials.calls, found)
            kinds = ", ".join(f"{kind} {count}" for kind, count in table[name]["faults"].items())
            print(f"{name}: {trials.calls} calls; {kinds}", flush=True)
    result = {"date": time.strftime("%Y-%m-%d"), "seed": seed, "seconds": seconds, "stages": table}
    Path(given.get("out", "faults.json")).write_text(json.dumps(result, indent=1) + "\n")
    if "folder" not in given:
        shutil.rmtree(folder)
    return int(any(one["failed"] for one in table.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
