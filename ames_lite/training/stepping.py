"""One step of training: from the parts of a batch to updated weights, and its metrics. A loss or
gradient that is not finite stops the run before a weight is changed, with the rows and names of the
batch saved; only in fp16, where the loss is scaled, a gradient may overflow: that step is skipped,
and the scale lowered.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ames_lite.errors import BadInput, require
from ames_lite.io.json_file import write_json_file
from ames_lite.models import AMES, SimilarityHead
from ames_lite.runtime import Draw, autocast, stream
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.training import dataset
from ames_lite.training.model import Result, TripletModel
from ames_lite.training.recipe import learning_rate
from ames_lite.training.state import memory

SMALLEST_SCALE = 2.0**-14  # of a loss in fp16: gradients that overflow below it are not rounding
REMEDY = "lower lr=, set clip_norm=1, or train with precision=fp32"


class Stepper:
    """Head, optimizer and scaler. folder: for the report on a batch that is not finite."""

    def __init__(
        self,
        head: SimilarityHead,
        teacher: SimilarityHead | None,
        loader: dataset.BatchLoader,
        device: torch.device,
        folder: Path,
    ) -> None:
        recipe = loader.recipe
        self.head, self.teacher, self.recipe, self.loader = head, teacher, recipe, loader
        self.device, self.folder = device, folder
        self.center: Tensor | None = None
        if recipe.mirror > 0:
            _check_mirror(loader.store)
        if recipe.rotate > 0:  # else nothing is read before the first step
            self.center = dataset.sample_descriptors(loader.store, recipe.seed).mean(0)
        if loader.store.packed and isinstance(head, AMES) and head.binary:
            head.remap_local[0].requires_grad_(False)  # its bits were made by it
        self.parameters = [p for p in head.parameters() if p.requires_grad]
        rate, decay = recipe.lr, recipe.weight_decay
        self.optimizer = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=decay)
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        if teacher is not None:
            teacher.to(device).eval()
        self.model: nn.Module = TripletModel(head.to(device), teacher, recipe)
        if loader.processes.size > 1:  # gradients are averaged after each backward pass
            self.model = DistributedDataParallel(self.model, broadcast_buffers=False)
        self.start_clock()

    def start_clock(self) -> None:
        """Start the time of the next step, waiting for its data included."""
        self.since = time.perf_counter()

    def step(self, step: int, steps: int, parts: Iterator[dataset.Part]) -> dict[str, Any]:
        """Take step `step` of `steps`; returns its line of the log. Raises BadInput, see above."""
        rate = learning_rate(step, steps, self.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        figures, waited = np.zeros(3), 0.0  # sums over parts, each weighted by its share
        for part in parts:
            figures += self._backward(part)
            waited += part.waited
        loss, accuracy, distance = self.loader.processes.total(figures).tolist()
        if not math.isfinite(loss):
            self._refuse(step, f"the loss is not finite at step {step}: {loss}")
        norm = self._update(step)
        seconds = time.perf_counter() - self.since
        self.since += seconds
        entry = {
            "step": step,
            "loss": loss,
            "accuracy": accuracy,
            "lr": rate,
            "gradient_norm": norm,
            "seconds": seconds,
            "data_wait": waited,
            "triplets_per_second": self.loader.num_triplets(step) / seconds,
            **memory(self.device),
        }
        if self.teacher is not None and self.recipe.beta > 0:
            entry["distance"] = distance
        if self.scaler.is_enabled():
            entry |= {"scale": self.scaler.get_scale(), "skipped": not math.isfinite(norm)}
        return entry

    def _backward(self, part: dataset.Part) -> npt.NDArray[np.float64]:
        """Add the gradient of a part; returns loss, accuracy and distance, times its share."""
        weight = part.share * self.loader.processes.size  # gradients are averaged over processes
        together = self.loader.processes.size == 1 or part.last  # processes synchronize then
        with nullcontext() if together else self.model.no_sync():  # type: ignore[operator]
            try:
                read = part.batch.each(lambda x: x.to(self.device, non_blocking=True))
                augmented = self._augment(part.step, read)
                with autocast(self.recipe.precision, self.device):
                    result: Result = self.model(augmented, part.counts, read)
            except BadInput as error:  # descriptors that are not finite
                self._refuse(part.step, str(error), always=True)
            self.scaler.scale(result.loss if weight == 1 else result.loss * weight).backward()
        if part.share == 0:
            return np.zeros(3)
        return part.share * np.array([result.loss.item(), result.accuracy, result.distance or 0.0])

    def _augment(self, step: int, batch: dataset.TripletBatch) -> dataset.TripletBatch:
        """The batch, mirrored and rotated or not; all parts of a step alike."""
        recipe = self.recipe
        seed = stream(recipe.seed, Draw.AUGMENTATION, step).integers(2**63)
        generator = torch.Generator().manual_seed(int(seed))

        def drawn(share: float) -> bool:
            return share > 0 and float(torch.rand(1, generator=generator)) < share

        rotated = drawn(recipe.rotate)
        if drawn(recipe.mirror):
            batch = dataset.mirror(batch)
        if self.center is None or not rotated:
            return batch
        return dataset.rotate(batch, self.center, generator)

    def _update(self, step: int) -> float:
        """Update the weights; returns the norm of the gradient before clipping."""
        limit = self.recipe.clip_norm
        norm, fine = update_weights(self.optimizer, self.scaler, self.parameters, limit)
        if not fine:
            self._refuse(step, f"the gradient is not finite at step {step}: its norm is {norm}")
        return norm

    def _refuse(self, step: int, what: str, always: bool = False) -> NoReturn:
        """Raise BadInput, with the batch's rows and names saved; always: not only by the first."""
        path, triplets = self.folder / "bad_batch.json", self.loader.triplets(step)
        if self.loader.processes.first or always:
            rows = {name: getattr(triplets, name).tolist() for name in triplets._fields}
            names = {key: [self.loader.store.names[row] for row in rows[key]] for key in rows}
            content = {"step": step, "reason": what.split("\n")[0], **rows}
            content["counts"] = self.loader.counts(step)
            write_json_file(path, {**content, "names": names})
        expected = "finite numbers; the rows and names of the batch are in that file"
        raise BadInput(what, where=path, expected=expected, remedy=REMEDY)


def update_weights(
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    parameters: Sequence[nn.Parameter],
    clip_norm: float,  # 0: no clipping
) -> tuple[float, bool]:
    """Take a step; returns the norm of the gradient, and False where it is not finite: nothing was
    changed then. In fp16 an overflow skips the step and lowers the scale, and is fine.
    """
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(parameters, clip_norm or math.inf).item()
    scaled = scaler.is_enabled() and scaler.get_scale() >= SMALLEST_SCALE
    fine = math.isfinite(norm) or scaled
    if fine:
        scaler.step(optimizer)  # in fp16: not where a gradient overflowed
        scaler.update()
    return norm, fine


def _check_mirror(store: DescriptorStore) -> None:
    made_by = store.provenance.get("backbone")
    fine = made_by == "sift" and store.dim == 128
    what = f"descriptors of {made_by}, D = {store.dim}, cannot be mirrored"
    expected = "SIFT, D = 128: of no others is known what mirroring does"
    require(fine, what, expected, where=store.path, remedy="mirror=0.0")
