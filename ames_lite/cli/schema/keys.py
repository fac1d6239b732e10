"""What the commands' keys are declared with; the keys that several commands share.

A command's keys are the fields of a dataclass. A key's type is the field's, its default may be an
interpolation of Hydra, and its help is one line. `global_` is the key `global`.
"""

from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_type_hints

from ames_lite.cli.schema.values import has_paths

OnBadImage = Literal["error", "skip"]
Precision = Literal["fp32", "bf16", "fp16", "auto"]
Split = Literal["query", "gallery", "train"]
Number = int | float


def key(default: Any, help: str = "", *, path: bool = False, head: bool = False) -> Any:
    """A field with its help. path: its texts are paths too; head: a name of a shipped head too."""
    about = {"help": help, "path": path, "head": head}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=about)
    return field(default=default, metadata=about)


def part(kind: type, help: str = "") -> Any:
    """A field that has keys of its own: `ivf_pq.nlist`."""
    return field(default_factory=kind, metadata={"help": help})


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
    data_root: Path | None = key(None, "folder of the data sets; null: the checkout's data/")


@dataclass
class Data(Root):
    """How every stage names a data set and its descriptors."""

    dataset: Dataset = part(Dataset)
    desc_name: str = key("dinov2", "prefix of the descriptor files")
    name: str = key("own", "dataset=folder: the folder's name under data_root")


@dataclass
class Images(Data):
    """A data set whose images are read, or shown."""

    images: Path | None = key(
        None, "folder that image names are relative to; null: the data set's own"
    )
    labels: str | None = key(
        None,
        "dataset=folder: what images= is prepared from on first use (scripts/prepare_dataset.py)",
        path=True,
    )


@dataclass
class Run:
    output_dir: Path | None = key(None, "run directory; null: runs/<command>_…")


@dataclass
class Device:
    """Where networks run."""

    device: str = key(
        "auto", "auto, cpu, cuda, cuda:<n>; under torchrun auto and cuda are one card a process"
    )
    precision: Precision = key(
        "fp32", "fp32, bf16, fp16 (on a GPU), or auto: bf16 where the device supports it natively"
    )


@dataclass
class Describing(Device):
    """How images are read and described."""

    workers: int = key(2, "processes that decode and prepare (sift: that do it all)")
    precision: Precision = key(
        "fp32", "of networks: fp32, bf16 (faster; 1 - cosine up to 1e-5), fp16 on a GPU"
    )
    batch_pixels: int | None = key(
        None,
        "pixels of a batch of images of one shape; 0: single images; null: 8 million on a GPU, 0 "
        "on a CPU",
    )


@dataclass
class Extracting(Describing):
    on_bad_image: OnBadImage = key(
        "error",
        "or skip: images that cannot be read keep their rows, without descriptors; exit code 0",
    )


@dataclass
class Overwrite:
    overwrite: bool = key(False, "start over instead of keeping or resuming what is there")


@dataclass
class Splits:
    splits: list[Split] = key(["query", "gallery"], "a training set has [train]")


@dataclass
class Scoring(Device):
    """How pairs are scored."""

    max_memory: float = key(
        8.0, "GiB of host memory for the process; beyond it queries are processed in groups"
    )
    threads: int | None = key(None, "of the CPU; null: torch's default")
    compile: bool = key(False, "torch.compile: pays where pairs are many, and needs a compiler")


class Key(NamedTuple):
    """A key as it was declared. hint: its type."""

    hint: Any
    default: Any
    help: str
    path: bool
    head: bool


@cache
def keys_of(schema: type) -> dict[str, Key]:
    """The keys of a dataclass by name, those of its parts dotted, its groups left out."""
    hints, found = get_type_hints(schema), dict[str, Key]()
    for one in sorted(fields(schema), key=lambda one: one.name in NODES):
        name, about = one.name.removesuffix("_"), one.metadata
        default = one.default if one.default_factory is MISSING else one.default_factory()
        if name in groups_of(schema):
            continue
        if is_dataclass(default):
            inner = keys_of(default.__class__)
            found |= {f"{name}.{key}": about_it for key, about_it in inner.items()}
        else:
            path = about.get("path", False) or has_paths(hints[one.name])
            found[name] = Key(
                hints[one.name], default, about.get("help", ""), path, about.get("head", False)
            )
    return found


@cache
def groups_of(schema: type) -> dict[str, type]:
    """The groups of conf/ that a command chooses from, and what each value becomes."""
    return {one.name: NODES[one.name] for one in fields(schema) if one.name in NODES}
