"""The remedies of the library, as commands for the shell."""

from dataclasses import dataclass
from pathlib import Path

from ames_lite.cli.own_folder import OPTION
from ames_lite.cli.schema.keys import Dataset
from ames_lite.datasets.layout import DatasetFiles, Remedies
from ames_lite.io import remedies
from ames_lite.io.overrides import paste, shell_word, word

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


@dataclass(frozen=True)
class Commands(Remedies):
    """The commands that make the files of a data set.

    dataset: its configuration; images: the folder of its images, where the user said so.
    """

    dataset: Dataset
    images: Path | None = None

    @property
    def own(self) -> bool:
        """Whether it is dataset=folder, which commands name by name=."""
        return self.dataset.option == OPTION

    def command(self, files: DatasetFiles, script: str, **more: object) -> str:
        """A command on this data set."""
        return paste(script, self._named(files, **more))

    def named(self, files: DatasetFiles) -> str:
        """The overrides that name the set and its descriptors."""
        return " ".join(map(shell_word, self._named(files)))

    def _named(self, files: DatasetFiles, **more: object) -> list[str]:
        given = {"desc_name": files.desc_name, "data_root": files.data_root, **more}
        return self._words(files, **given)

    def _words(self, files: DatasetFiles, **given: object) -> list[str]:
        name = {"name": files.folder} if self.own else {}
        words = (word(key, value) for key, value in {**name, **given}.items())
        swap = ["swap=true"] if files.swapped else []
        return [f"dataset={files.option}", *swap, *words]

    def lists(self, files: DatasetFiles, split: str | None = None) -> dict[str, str]:
        """Training makes the training list of a folder of the user's."""
        if self.own and split == "train":
            return {"remedy": self._train(files)}
        if self.dataset.base:  # append_distractors makes its files
            made = self.command(files, "extract/append_distractors.py")
            return {"expected": files.page, "remedy": made}
        if not self.dataset.reader:  # which makes lists and ground truth
            return {"remedy": files.page}
        made = paste("scripts/prepare_set.py", self._words(files, data_root=files.data_root))
        return {"expected": f"made from the official files; {files.page}", "remedy": made}

    def _train(self, files: DatasetFiles) -> str:
        given = {"experiment": "own", "name": files.folder, "data_root": files.data_root}
        made = paste("scripts/train.py", [word(key, value) for key, value in given.items()])
        images = "images=<folder>"
        if self.images is not None:
            images = shell_word(word("images", self.images))
        return f"{made} {images} labels=<folders, or a CSV file,label>"

    def local(self, files: DatasetFiles, **more: object) -> str:
        """Extraction reads images, so it is told where they are."""
        images = {} if self.images is None else {"images": self.images}
        splits = {"splits": ["gallery"]} if self.dataset.gallery_alone else {}
        return self.command(files, "extract/extract_descriptors.py", **{**images, **splits, **more})

    def globals(self, files: DatasetFiles, split: str, kind: str) -> str:
        """Whitened ones (kind ends in w) by the whitening that is there, else what fits one."""
        if kind == "cls":
            return self.local(files, outputs=["global"], splits=[split])
        base = {"global": kind.removesuffix("w"), "desc_name": files.prefix(kind)}
        if not kind.endswith("w"):
            return self.command(files, "extract/extract_globals.py", **base, splits=[split])
        fitted = sorted(files.data_root.glob(files.whitening_path(base["global"], "*").name))
        if not fitted:
            return self.command(files, "extract/fit_whitening.py", **base, split="gallery")
        used = {"source": "globals", **base, "whitening": fitted[0], "splits": [split]}
        return self.command(files, "extract/extract_globals.py", **used)

    def neighbors(self, files: DatasetFiles, kind: str | None, **more: object) -> str:
        """Lists by a kind of global descriptors."""
        given = {} if kind is None else {"global": kind}
        return self.command(files, "extract/prepare_topk_global.py", **given, **more)
