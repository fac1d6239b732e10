"""What the commands' keys are declared with, and those that several commands share: the fields of a
dataclass, with their types, their defaults, which may be interpolations of Hydra, and, in the
comments behind and below them, their help. `global_` is the key `global`.
"""

import inspect
import re
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

from ames_lite.cli.schema.values import alternatives, has_paths

OnBadImage = Literal["error", "skip"]
Precision = Literal["fp32", "bf16", "fp16", "auto"]
Split = Literal["query", "gallery", "train"]
Number = int | float
PathText = Annotated[str, "path"]
"""A text that may be a path."""
Count = Annotated[int, "at least 1"]
CountOr0 = Annotated[int, "at least 0"]
Head = Annotated[Path, "head"]
"""A trained head: a path, or the name of a shipped head."""


def listed(*values: Any) -> Any:
    return field(default_factory=lambda: list(values))


@dataclass
class Dataset:
    """A file of conf/dataset/."""

    option: str = ""
    folder: str = ""
    role: str = "test"
    protocol: str | None = None
    neighbors: str = ""
    page: str = ""
    licence: str = ""
    note: str | None = None
    unverified: bool = False
    counts: dict[str, Any] | None = None
    reader: str | None = None
    options: dict[str, Any] | None = None
    image_folder: str | None = None
    swap: bool = False
    base: str | None = None
    distractors: str | None = None
    gallery_alone: bool = False
    ground_truth_of: str | None = None
    private_queries: int = 0
    skip_queries: int = 0
    published_size: list[int] | None = None
    prepared: bool = False
    val: str | None = None

    @property
    def name(self) -> str:
        """Its name as a value of dataset=."""
        return self.option

    @property
    def lists_folder(self) -> str:
        """The folder of its lists; the other direction of a set (swap=true) has its own."""
        return f"{self.folder}_swapped" if self.swap else self.folder

    @property
    def images_folder(self) -> str:
        """The folder that its image names are relative to."""
        return self.image_folder or self.folder


@dataclass
class Named:
    """A file of conf/model/ or conf/backbone/."""

    name: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)


NODES = {"dataset": Dataset, "model": Named, "backbone": Named}


@dataclass
class Root:
    data_root: Path | None = None  # folder of the data sets; null: the checkout's data/
    progress: bool = True  # false: no progress bars, which are for terminals alone
    verify: bool = True  # the checksums of files that are read; false: of very large stores


@dataclass
class Planned:
    """Stages whose cost can be told before (cli/planning.py)."""

    plan: bool = False  # true: say what it would take, in time, disk and memory, from a short probe


@dataclass
class Data(Root):
    """How every stage names a data set and its descriptors."""

    dataset: Dataset = field(default_factory=Dataset)
    desc_name: str = "dinov2"  # prefix of the descriptor files
    prepare: bool = False  # true: missing files are made first, by the commands that would be named
    name: str = "own"  # dataset=folder: the folder's name under data_root
    images: Path | None = None  # folder that image names are relative to; null: the data set's own
    labels: PathText | None = None  # dataset=folder: as of scripts/prepare_dataset.py, on first use


@dataclass
class Run:
    output_dir: Path | None = None  # run directory; null: runs/<command>_…


@dataclass
class Device:
    """Where networks run."""

    device: str = "auto"  # auto, cpu, cuda, cuda:<n>; under torchrun one card a process
    precision: Precision = "fp32"  # fp32, bf16, fp16 (on a GPU); auto: bf16 where native


@dataclass
class Describing(Device):
    """How images are read and described."""

    workers: int = 2  # processes that decode and prepare (sift: that do it all)
    precision: Precision = "fp32"  # fp32, bf16 (faster; 1 - cosine up to 1e-5), fp16 (on a GPU)
    batch_pixels: int | None = None  # of a batch; 0: single images; null: 8 million, on a CPU 0


@dataclass
class Extracting(Describing):
    on_bad_image: OnBadImage = "error"  # or skip: rows without descriptors; exit code 0


@dataclass
class Heads:
    trust: bool = False  # weights=dinov2_ames and other published names: allow the download, which
    # is plain http, and of which no hash is published


@dataclass
class Overwrite:
    overwrite: bool = False  # start over instead of keeping or resuming what is there


@dataclass
class Splits:
    splits: list[Split] = listed("query", "gallery")  # a training set has [train]


@dataclass
class Scoring(Device):
    """How pairs are scored."""

    max_memory: float = 8.0  # GiB of host memory; beyond it queries are processed in groups
    threads: Count | None = None  # of the CPU; null: torch's default
    compile: bool = False  # torch.compile, for a GPU; on a CPU it was slower. Needs a compiler


class Key(NamedTuple):
    """A key as it was declared. hint: its type; mark: that of an annotated type."""

    hint: Any
    default: Any
    help: str = ""
    mark: str = ""

    @property
    def path(self) -> bool:
        """Whether its texts are paths."""
        return self.mark == "path" or has_paths(self.hint)


def some_of(config: object, names: Iterable[str]) -> dict[str, Any]:
    """The values of these fields of a configuration, by name."""
    return {name: getattr(config, name) for name in names}


@cache
def keys_of(schema: type) -> dict[str, Key]:
    """The keys of a dataclass by name, those of its parts dotted, its groups left out."""
    hints, marked = get_type_hints(schema), get_type_hints(schema, include_extras=True)
    helps = helps_of(schema)
    found: dict[str, Key] = {}
    for one in fields(schema):
        if one.name in NODES:
            continue
        name = one.name.removesuffix("_")
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if is_dataclass(default):
            for key, about in keys_of(default.__class__).items():
                found[f"{name}.{key}"] = about._replace(default=attrgetter(key)(default))
        else:
            mark = "".join(getattr(alternatives(marked[one.name])[0], "__metadata__", ()))
            found[name] = Key(hints[one.name], default, helps.get(one.name, ""), mark)
    return found


def helps_of(schema: type) -> dict[str, str]:
    """The help of each field, its own or that of a base."""
    helps: dict[str, str] = {}
    for base in reversed(schema.__mro__[:-1]):
        helps |= _helps(base)
    return helps


def _helps(schema: type) -> dict[str, str]:
    """The comment of each field of a class: behind it, and on lines of their own below."""
    helps: dict[str, str] = {}
    name = ""
    for line in inspect.getsource(schema).splitlines():
        code, _, comment = line.partition("  # ")
        declared = re.match(r"    (\w+): ", code)
        if declared:
            name = declared[1]
            helps[name] = comment
        elif line.startswith("    # ") and name:
            helps[name] = f"{helps[name]} {line.strip(' #')}".strip()
        elif not line.startswith("     "):
            name = ""
    return helps


def groups_of(schema: type) -> dict[str, type]:
    return {one.name: NODES[one.name] for one in fields(schema) if one.name in NODES}
