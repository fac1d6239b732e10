"""The remedies of the library, as commands for the shell."""

from dataclasses import dataclass
from pathlib import Path

from ames_lite.cli.own_folder import OPTION
from ames_lite.cli.schema.keys import Dataset
from ames_lite.datasets.layout import DatasetFiles, is_path
from ames_lite.io import remedies
from ames_lite.io.overrides import paste, shell_word, word

THE_SET = "dataset=<name> desc_name=<name>"  # where no data set is known
OF_NETWORK = {"gem": ("cvnet", "efficientnet_lite0"), "gemw": ("photo",)}  # as cls of others
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
    remedies.SEARCH: "python scripts/search.py images=<folder>",
    remedies.CHECK: "python scripts/check_store.py lists all such rows",
}


def with_commands(message: str, named: str | None = None) -> str:
    """The message with commands for its remedies; named: overrides that name the data set.

    >>> print(with_commands("remedy: build the vocabulary anew", "dataset=mine"))
    remedy: python extract/build_vocabulary.py dataset=mine
    """
    for words, command in COMMANDS.items():
        message = message.replace(words, command.format(set=named or THE_SET))
    return message


@dataclass(frozen=True, kw_only=True)
class Files(DatasetFiles):
    """The files of a data set, with commands as remedies; images: of its images, a folder."""

    dataset: Dataset
    images: Path | None = None

    def command(self, script: str, **more: object) -> str:
        return paste(script, self.words(**more))

    def words(self, **more: object) -> list[str]:
        """The overrides that name the set and its descriptors, and more; None: left out."""
        given: dict[str, object] = {"name": self.folder} if self.option == OPTION else {}
        given |= {"desc_name": self.desc_name, "data_root": self.data_root, **more}
        words = (word(key, value) for key, value in given.items() if value is not None)
        swap = ["swap=true"] if self.swapped else []
        return [f"dataset={self.option}", *swap, *words]

    def make_lists(self, split: str | None = None) -> dict[str, str]:
        """Training makes the training list of a folder of the user's."""
        if self.option == OPTION and split == "train":
            return {"remedy": self._train()}
        if self.dataset.base:  # append_distractors makes its files
            made = self.command("extract/append_distractors.py")
            return {"expected": self.page, "remedy": made}
        if not self.dataset.reader:  # which makes lists and ground truth
            return {"remedy": self.page}
        made = self.command("scripts/prepare_set.py", desc_name=None)
        return {"expected": f"made from the official files; {self.page}", "remedy": made}

    def _train(self) -> str:
        given = {"experiment": "own", "name": self.folder, "data_root": self.data_root}
        made = paste("scripts/train.py", [word(key, value) for key, value in given.items()])
        images = shell_word(word("images", self.images)) if self.images else "images=<folder>"
        return f"{made} {images} labels=<folders, or a CSV file,label>"

    def make_local(self, **more: object) -> str:
        """Extraction reads images, so it is told where they are."""
        images = {} if self.images is None else {"images": self.images}
        splits = {"splits": ["gallery"]} if self.dataset.gallery_alone else {}
        return self.command("extract/extract_descriptors.py", **{**images, **splits, **more})

    def make_globals(self, split: str, kind: str) -> str:
        """Whitened ones (kind ends in w) by the whitening that is there, else what fits one."""
        if kind == "cls" or self.desc_name in OF_NETWORK.get(kind, ()):
            return self.make_local(outputs=["global"], splits=[split])
        base = {"global": kind.removesuffix("w"), "desc_name": self.prefix(kind)}
        if not kind.endswith("w"):
            return self.command("extract/extract_globals.py", **base, splits=[split])
        fitted = sorted(self.data_root.glob(self.whitening_path(base["global"], "*").name))
        if not fitted:
            return self.command("extract/fit_whitening.py", **base, split="gallery")
        used = {"source": "globals", **base, "whitening": fitted[0], "splits": [split]}
        return self.command("extract/extract_globals.py", **used)

    def make_neighbors(self, kind: str, **more: object) -> str:
        """Of lists at a path: those by default."""
        given = {} if is_path(kind) else {"global": kind}
        return self.command("extract/prepare_topk_global.py", **given, **more)
