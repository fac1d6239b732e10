"""A GPU in one run, made for 8 minutes: heads, and an evaluation as large as ROxford's.

    python -m benchmarks.gpu <file.json> [device=cuda] [queries=70] [num_rerank=1600]
        [descriptors=600]

Needs no Hydra and no faiss. Output: {"machine", "seconds", "heads", "evaluation", "compiled"}:
cells of benchmarks/heads.py; of benchmarks/rerank.py, both passes, the plain loop on one query for
every ten; seconds and logits of the evaluation with torch.compile. A part that no longer fits into
the time is null.
"""

import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ames_lite.errors import UserError, check_config
from ames_lite.io.writing import replacing
from ames_lite.models import AMES
from ames_lite.reranking.scorer import PairScorer, ScoringOptions
from ames_lite.runtime import pick_device
from benchmarks.heads import HeadSpeed, measure_heads
from benchmarks.machine import describe_machine
from benchmarks.made_stores import make_stores
from benchmarks.rerank import Job, RerankSize, RerankSpeed, measure_rerank
from benchmarks.subjects import build_variant

KEYS = {"queries": 70, "num_rerank": 1600, "descriptors": 600}
LIMIT, FOR_HEADS = 480.0, 120.0  # seconds
GALLERY, WIDTH = 5000, 768


def heads(descriptors: int, device: torch.device) -> list[dict[str, Any]]:
    precisions = ["fp32", "bf16"]
    sizes = [(descriptors, descriptors), (descriptors, max(1, descriptors // 12))]
    speed = HeadSpeed(["ames", "elvis"], sizes, precisions, pairs=64, budget=FOR_HEADS)
    return measure_heads(speed, device)


def evaluation(size: RerankSize, device: torch.device, folder: Path) -> list[dict[str, Any]]:
    few = replace(size, queries=max(1, size.queries // 10))
    whole = RerankSpeed(size, {}, ["bf16"], repeats=3, device=str(device), plain=False)
    beside_plain = RerankSpeed(few, {}, ["bf16"], repeats=1, device=str(device))
    return [*measure_rerank(whole, folder), *measure_rerank(beside_plain, folder)]


def compiled(size: RerankSize, device: torch.device, folder: Path) -> dict[str, Any]:
    """Seconds of a first scoring, compilation included, and of a second; and of one without."""
    head = cast(AMES, build_variant("ames", WIDTH, 0, device))
    made = make_stores(folder, size.queries, size.gallery, size.descriptors, WIDTH, 0)
    try:
        speed = RerankSpeed(size, {}, ["bf16"], device=str(device), plain=False)
        job, found, logits = Job(speed, size, made, head), {}, []
        for name, fast in (("eager", False), ("first", True), ("second", True)):
            options = ScoringOptions(
                *(size.descriptors,) * 2, precision="bf16", device=str(device), compile=fast
            )
            scores, cost = PairScorer(head).score(*made, *job.pairs, options)
            found[name] = cost.seconds_scoring
            logits.append(scores.logit)
        return {"seconds": found, "logit_difference": float(np.abs(logits[0] - logits[2]).max())}
    finally:
        for store in made:
            store.close()
            store.path.unlink()


def main() -> None:
    check_config(sys.argv[1:2], "there is no file to write", "python -m benchmarks.gpu <file.json>")
    output, words = Path(sys.argv[1]), dict(word.partition("=")[::2] for word in sys.argv[2:])
    device, began = pick_device(words.pop("device", "cuda")), time.perf_counter()
    given = {key: int(words.pop(key, default)) for key, default in KEYS.items()}
    check_config(not words, f"there is no key {next(iter(words), '')}", f"some of {[*KEYS]}")
    size = RerankSize(**given, gallery=GALLERY, pool=GALLERY)
    results: dict[str, Any] = {"machine": describe_machine(), "device": str(device), **given}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, part in (
            ("heads", lambda: heads(size.descriptors, device)),
            ("evaluation", lambda: evaluation(size, device, folder)),
            ("compiled", lambda: compiled(size, device, folder)),
        ):
            spent = time.perf_counter() - began
            results[name] = part() if spent < LIMIT / 2 else None
            results["seconds"] = time.perf_counter() - began
            with replacing(output, overwrite=True) as partial:
                partial.write_text(json.dumps(results, indent=1), encoding="utf-8")
            print(f"{name}: {results['seconds'] - spent:.1f} s", flush=True)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
