"""Make weights/photo_elvis_small, taught by weights/photo_elvis; after tools/release/photo.py.

    python tools/release/photo_small.py --root <folder> --output <folder> [--test-seeds 1 2 3 4 0]

root: that of photo.py, whose data it takes; output: a folder of its own. The student sees no label:
its targets are the teacher's scores of the training pairs.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from ames_lite.cli.steps import Steps
from ames_lite.errors import UserError
from ames_lite.io.checkpoint import load_head, save_head
from ames_lite.reranking.calibration import Calibration
from tools.release.photo import (
    MAX_FALSE,
    RENDERED,
    answer_rows,
    measured,
    on_validation,
    test_rows,
    validation_rows,
)

HERE, TEACHER = Path(__file__).parent, Path("weights/photo_elvis")
NAMES = {"teacher": "photo_elvis", "student": "photo_elvis_small"}


def main() -> None:
    """Train, tune, measure, write."""
    args = arguments()
    root, output = args.root.absolute(), args.output.absolute()
    step = Steps(root)
    heads = {name: output / name / "head" for name in NAMES}
    if not heads["teacher"].is_dir():  # a copy: tuning writes into it
        shutil.copytree(TEACHER, heads["teacher"])
    if not heads["student"].is_dir():
        given = ("experiment=photo_release_elvis_small", f"teacher={TEACHER}", f"seed={args.seed}")
        step("train", *given, f"output_dir={output / 'train'}")
        save_head(heads["student"], *load_head(output / "train"), half=True)
    found, tests = {}, dict[str, Any]()
    for name, head in heads.items():
        found[name] = on_validation(step, "elvis", head, head.parent)
        for seed in args.test_seeds:
            measure = measured(step, args, seed, {"elvis": found[name]}, head, head.parent)
            tests.setdefault(f"{RENDERED}, seed {seed}", {})[name] = measure["elvis"]
    write(args.weights, root, heads["student"], found, tests)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help="of photo.py")
    parser.add_argument("--output", type=Path, required=True, help="where the runs go")
    parser.add_argument("--weights", type=Path, default=Path("weights/photo_elvis_small"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--test-seeds", type=int, nargs="+", default=[1, 2, 3, 4, 0])
    parser.add_argument("--workers", type=int, default=2)
    return parser.parse_args()


def write(
    weights: Path, root: Path, head: Path, found: dict[str, Any], tests: dict[str, Any]
) -> None:
    """The head and its card."""
    model, meta = load_head(head)
    weights.mkdir(parents=True, exist_ok=True)
    save_head(weights, model, meta, half=True)
    calibration = Calibration.from_json(meta.calibration)
    of_student = {name: {"elvis": models["student"]} for name, models in tests.items()}
    named = {NAMES[name]: values for name, values in found.items()}
    rows = (
        test_rows(name, {NAMES[key]: one for key, one in models.items()})
        for name, models in tests.items()
    )
    card = (HERE / "photo_small_card.md").read_text(encoding="utf-8")
    filled = card.format(
        parameters=sum(p.numel() for p in model.parameters()),
        lamb=meta.lamb,
        temp=meta.temp,
        validation="\n".join(validation_rows(root, named)),
        tests="\n\n".join("\n".join(each) for each in rows),
        answers="\n".join(answer_rows(root, head.parent, head, of_student)),
        threshold=f"{calibration.threshold(MAX_FALSE):.4f}",
    )
    (weights / "README.md").write_text(filled, encoding="utf-8")
    print(f"release: {weights}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
