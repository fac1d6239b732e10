"""The command for each remedy that the rooms below know in words."""

from __future__ import annotations

from ames_lite.io import remedies

THE_SET = "dataset=<name> desc_name=<name>"  # where no data set is known
COMMANDS = {
    remedies.EXTRACT: "python extract/extract_descriptors.py {set}",
    remedies.EXTRACT_GLOBAL: "python extract/extract_descriptors.py outputs=[global]",
    remedies.DESCRIBE_IMAGES: "python extract/extract_globals.py source=images",
    remedies.VOCABULARY: "python extract/build_vocabulary.py {set}",
    remedies.BINARIZATION: "python extract/fit_binarization.py dataset=<training set> "
    "desc_name=<name>",
    remedies.WHITENING: "python extract/fit_whitening.py dataset=<name> desc_name=<name> "
    "global=<kind> dim=<P>",
    remedies.WHITENED: "narrower descriptors (extract/fit_whitening.py)",
    remedies.NEIGHBORS: "python extract/prepare_topk_global.py {set} overwrite=true",
    remedies.DETECTOR: "python extract/train_detector.py",
    remedies.SCORES: "score again: python scripts/evaluate.py dataset=<name>",
    remedies.TUNE: "python scripts/tune.py dataset=<validation set>",
    remedies.RESULTS: "python scripts/evaluate.py dataset=… writes it",
    remedies.CHECK: "python scripts/check_store.py lists all such rows",
}


def with_commands(message: str, named: str | None = None) -> str:
    """The message with commands for its remedies; named: the overrides that name the data set.

    >>> print(with_commands("remedy: build the vocabulary anew", "dataset=mine"))
    remedy: python extract/build_vocabulary.py dataset=mine
    """
    for words, command in COMMANDS.items():
        message = message.replace(words, command.format(set=named or THE_SET))
    return message
