"""A training run that can be interrupted anywhere and resumed: `log.jsonl` and `last.pt`. Random
draws depend on seed, epoch and step alone, so a resumed run ends with the weights of an
uninterrupted one to the bit (in float32 on a CPU).
"""

import logging
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import numpy as np

from ames_lite.errors import BadInput, explained, require
from ames_lite.io.writing import locked
from ames_lite.processes import ALONE, Processes
from ames_lite.training.state import NAME, Watch, advance, read_state, write_state

logger = logging.getLogger(__name__)
T = TypeVar("T")
Entry = dict[str, Any]  # a line of the log
SIGNALS = (signal.SIGINT, signal.SIGTERM)
STREAMS = {"streams": 2}  # of random numbers: a checkpoint of others cannot be resumed


class TrainingRun(ABC):
    """The loop of a training; subclasses compute steps and write the files of an epoch."""

    stateful: dict[str, Any]  # what a checkpoint holds beside `own`, by state_dict()
    own: tuple[str, ...] = ("step", "seen", "curve")  # attributes that it holds as they are
    identity: dict[str, Any]  # flat: what a checkpoint must match to be resumed

    def __init__(
        self,
        output_dir: str | Path,
        epochs: int,
        steps_per_epoch: int,
        save_every: int = 200,
        processes: Processes = ALONE,
        tensorboard: bool = False,
    ) -> None:
        require(save_every >= 1, f"save_every is {save_every}", "at least 1 step")
        self.output_dir, self.epochs, self.per_epoch = Path(output_dir), epochs, steps_per_epoch
        self.save_every, self.processes, self.tensorboard = save_every, processes, tensorboard
        self.steps = epochs * steps_per_epoch
        self.step = 0  # finished
        self.seen: list[list[float]] = []  # of this epoch's steps: loss, accuracy, ...
        self.curve: list[dict[str, Any]] = []  # of every finished epoch
        self.signal: Callable[[], int] = lambda: 0

    @property
    def finished(self) -> bool:
        """Whether no epoch is left."""
        return len(self.curve) >= self.epochs

    @abstractmethod
    def run_steps(self, first: int, stop: int) -> Generator[tuple[Entry, list[float]], None, None]:
        """Compute steps `first` to before `stop` of the running epoch: log line and `seen`."""

    def heeding(self, found: Iterator[T]) -> Iterator[T]:
        """What worker processes give, up to a signal, which ends them too."""
        try:
            yield from found
        except BadInput:
            if not self.signal():
                raise

    @abstractmethod
    def finish_epoch(self, watch: Watch) -> None:
        """Append to `curve`, empty `seen`, write the epoch's files."""

    def hold(self) -> AbstractContextManager[None]:
        """Lock the run directory. Raises BadInput where it is locked."""
        if not self.processes.first:
            return nullcontext()
        what = "another process trains in this run directory"
        return locked(self.output_dir, what, "give another output_dir=")

    def resume(self) -> bool:
        """Load the checkpoint, or begin a log; returns whether there was one."""
        last, log, state = self.output_dir / NAME, self.output_dir / "log.jsonl", None
        if self.processes.first and last.is_file():
            state = read_state(last, {**self.identity, **STREAMS}, {*self.own, *self.stateful})
        state = self.processes.from_first(state)
        if state is None:
            if self.processes.first:
                log.write_text("")
            return False
        with explained("the checkpoint cannot be resumed: {}", Exception, where=last):
            for name in self.own:
                if type(state[name]) is not type(getattr(self, name)):
                    raise TypeError(f"{name} is {type(state[name]).__name__}")
                setattr(self, name, state[name])
            for name, part in self.stateful.items():
                part.load_state_dict(state[name])
        if self.processes.first:
            with log.open("r+b") as file:
                file.truncate(state["log_bytes"])  # steps after the checkpoint are done again
            logger.info("continuing after step %d of %d", self.step, self.steps)
        return True

    def train(self) -> None:
        """The steps and epochs that are left. Raises Stopped at a signal."""
        first = self.processes.first
        watch = Watch(self.output_dir, self.step, writes=first, tensorboard=self.tensorboard)
        with closing(watch), interruptible() as self.signal:
            while not self.finished:
                self._train_epoch(watch)
                self.save()
                self.finish_epoch(watch)
                self.save()

    def best(self, metric: str) -> dict[str, Any]:
        """The line of the epoch with the highest metric, the first of equals."""
        return max(self.curve, key=lambda line: line[metric])

    def save(self) -> None:
        """Write the checkpoint, between two steps."""
        if not self.processes.first:
            return
        state = {name: part.state_dict() for name, part in self.stateful.items()}
        state |= {name: getattr(self, name) for name in self.own}
        state["log_bytes"] = (self.output_dir / "log.jsonl").stat().st_size
        write_state(self.output_dir / NAME, {**self.identity, **STREAMS}, state)

    def _train_epoch(self, watch: Watch) -> None:
        epoch, stop, came = len(self.curve), (len(self.curve) + 1) * self.per_epoch, 0
        name, done = f"epoch {epoch + 1}/{self.epochs}", self.step - epoch * self.per_epoch
        with (
            closing(self.run_steps(self.step, stop)) as steps,
            watch.bar(name, self.per_epoch, done) as bar,
        ):
            for entry, figures in steps:
                watch.line(entry)
                self.seen.append(figures)
                self.step += 1
                advance(bar, self.seen, entry.get("triplets_per_second"))
                came = int(self.processes.largest(np.array(self.signal())))
                if came:  # to any of the processes: all of them stop at this step
                    break
                if self.step % self.save_every == 0:
                    self.save()
        if came or self.step < stop:
            self.save()
            where = f"{self.output_dir}, step {self.step} of {self.steps}"
            raise Stopped(came or self.signal(), f"; the same command goes on from here: {where}")


class Stopped(KeyboardInterrupt):
    """A run was ended by a signal; how: for the message."""

    def __init__(self, signum: int, how: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}{how}")
        self.signum = int(signum)


@contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """Defer SIGINT and SIGTERM to the end of a step; Stopped at a second. Yields its number."""
    noted = [0]
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return

    def note(number: int, frame: FrameType | None) -> None:
        if noted[0]:
            raise Stopped(number)
        noted[0] = number

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield lambda: noted[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
