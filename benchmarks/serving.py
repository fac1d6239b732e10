"""What a server sustains on the loopback: requests of descriptors, from several clients at a time.

    python -m benchmarks.serving [clients=1,4,16] [seconds=20] [documents=50] [descriptors=100]
        [head=photo_elvis] [rate=20]

A server process of its own and one client process share the machine's cores. Each client sends its
next request when the last is answered (closed loop); the last row is an open loop: requests come at
`rate` a second whatever the answers, as from many users. CPU: of the server, an answer.
"""

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from ames_lite.cli.shell import exit_code, print_table
from ames_lite.errors import ConfigError
from ames_lite.hub import shipped_head
from ames_lite.io.checkpoint import load_head

KEYS = {"clients": "1,4,16", "seconds": "20", "documents": "50", "descriptors": "100"}
KEYS |= {"head": "photo_elvis", "rate": "20"}
HEADER = ["", "requests/s", "p50 ms", "p95 ms", "p99 ms", "answers", "others", "CPU ms"]


@dataclass
class Taken:
    """Of one load."""

    answered: list[float] = field(default_factory=list)  # seconds of every answer
    others: int = 0  # answers that were none: 503, 504, or the connection was closed
    cpu: float = 0.0  # seconds of the server's
    began: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0  # in all

    def row(self, name: str) -> list[object]:
        times = [f"{1000 * np.percentile(self.answered, p):.0f}" for p in (50, 95, 99)]
        rate = f"{len(self.answered) / self.seconds:.1f}"
        cpu = f"{1000 * self.cpu / len(self.answered):.0f}"
        return [name, rate, *times, len(self.answered), self.others, cpu]


def bodies(head: str, documents: int, descriptors: int) -> list[bytes]:
    """Requests with float16 descriptors of unit length, as base64."""
    width = load_head(shipped_head(head))[0].dim_in or 0
    rng = np.random.default_rng(0)

    def image() -> dict[str, object]:
        array = rng.normal(size=(descriptors, width)).astype(np.float32)
        array /= np.linalg.norm(array, axis=1, keepdims=True)
        text = base64.b64encode(array.astype("<f2").tobytes()).decode()
        return {"descriptors": text, "shape": list(array.shape)}

    made = ({"query": image(), "documents": [image() for _ in range(documents)]} for _ in range(4))
    return [json.dumps(one).encode() for one in made]


@contextmanager
def served(head: str) -> Iterator[str]:
    """The address of `ames serve` with a shipped head, in a process of its own."""
    backbone, model, *_ = head.split("_")
    words = [f"backbone={backbone}", f"model={model}", f"weights={head}", "port=0"]
    command = [sys.executable, "-m", "ames_lite", "serve", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(line.split()[2] for line in process.stdout if " at http" in line)[:-1]
        finally:
            process.terminate()


class Load:
    """Requests to an address, in turns."""

    def __init__(self, address: str, sent: Sequence[bytes]) -> None:
        self._address, self._sent = address, sent

    async def closed(self, clients: int, seconds: float) -> Taken:
        """Every client waits for its answer before it asks again."""

        async def keep_asking(client: httpx.AsyncClient, taken: Taken, number: int) -> None:
            while time.perf_counter() - taken.began < seconds:
                await self._ask(client, taken, number)
                number += 1

        async with self._measured() as (client, taken):
            await asyncio.gather(*(keep_asking(client, taken, n) for n in range(clients)))
            return taken

    async def open(self, rate: float, seconds: float) -> Taken:
        """So many requests a second, whatever the answers."""
        async with self._measured() as (client, taken):
            tasks = []
            for number in range(int(rate * seconds)):
                await asyncio.sleep(max(0.0, taken.began + number / rate - time.perf_counter()))
                tasks.append(asyncio.create_task(self._ask(client, taken, number)))
            await asyncio.gather(*tasks)
            return taken

    async def _ask(self, client: httpx.AsyncClient, taken: Taken, number: int) -> None:
        body, start = self._sent[number % len(self._sent)], time.perf_counter()
        try:
            answer = await client.post(f"{self._address}/rerank", content=body)
            answered = answer.status_code == 200
        except httpx.TransportError:  # sent away before its body was read
            answered = False
        if answered:
            taken.answered.append(time.perf_counter() - start)
        else:
            taken.others += 1

    @asynccontextmanager
    async def _measured(self) -> AsyncIterator[tuple[httpx.AsyncClient, Taken]]:
        how: Any = {"limits": httpx.Limits(max_connections=None), "trust_env": False}
        headers = {"content-type": "application/json"}
        async with httpx.AsyncClient(headers=headers, timeout=120, **how) as client:
            before, taken = await self._cpu(client), Taken()
            yield client, taken
            taken.seconds = time.perf_counter() - taken.began
            taken.cpu = await self._cpu(client) - before

    async def _cpu(self, client: httpx.AsyncClient) -> float:
        text = (await client.get(f"{self._address}/metrics")).text
        return float(text.split("\nprocess_cpu_seconds_total ")[1].split()[0])


def run(words: Sequence[str]) -> None:
    given = dict(word.partition("=")[::2] for word in words)
    odd = [key for key in given if key not in KEYS]
    if odd:
        raise ConfigError(f"there is no key {odd[0]}", expected=f"some of {', '.join(KEYS)}")
    keys = {**KEYS, **given}
    seconds, rate = float(keys["seconds"]), float(keys["rate"])
    sent = bodies(keys["head"], int(keys["documents"]), int(keys["descriptors"]))
    size = f"{keys['documents']} documents of {keys['descriptors']} descriptors"
    print(f"{keys['head']}, {size}, {len(sent[0]) / 2**20:.1f} MiB a request")
    rows = []
    with served(keys["head"]) as address:
        load = Load(address, sent)
        asyncio.run(load.closed(1, 2.0))  # warm up
        for clients in map(int, keys["clients"].split(",")):
            rows.append(asyncio.run(load.closed(clients, seconds)).row(f"{clients} clients"))
        rows.append(asyncio.run(load.open(rate, seconds)).row(f"{rate:g} a second"))
    print_table(HEADER, rows)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(sys.argv[1:])))
