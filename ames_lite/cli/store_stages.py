"""The commands around stores and neighbour lists: merging, bits, lists. As in `stages`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ames_lite.cli.compose import Config
from ames_lite.cli.shell import chosen_splits, command, dataset_files
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.datasets.layout import NETWORK_OF, DatasetFiles, find_all
from ames_lite.errors import ConfigError
from ames_lite.extraction.binarization import fit_binarization
from ames_lite.extraction.merging import HOW, merge_globals, merge_stores
from ames_lite.extraction.neighbors import convert_topk, prepare_topk
from ames_lite.retrieval.compressed import IvfPq
from ames_lite.retrieval.rerankers import RERANKERS, Settings
from ames_lite.runtime import pick_device
from ames_lite.stores.published.store import is_published
from ames_lite.stores.shards import find_shards

FORMS = ("native", "published")
INDEXES = ("flat", "ivf_pq")
RERANKS = ("published", *RERANKERS, "none")


def merge_main(overrides: Sequence[str] | None = None) -> int:
    """`python extract/merge_hdf5.py`."""
    return command("merge", run_merge, overrides)


def binarization_main(overrides: Sequence[str] | None = None) -> int:
    """`python extract/fit_binarization.py`."""
    return command("binarization", run_binarization, overrides)


def topk_main(overrides: Sequence[str] | None = None) -> int:
    """`python extract/prepare_topk_global.py`."""
    return command("topk", run_topk, overrides)


def run_merge(config: Config) -> None:
    """Join the shards of every split."""
    if config["how"] not in HOW:
        raise ConfigError(f"how={config['how']}", expected=" or ".join(HOW))
    files, splits = dataset_files(config), chosen_splits(config)
    if config["global"] is not None:
        _merge_globals(config, files, splits)
        return
    found = {
        split: find_shards(files.local_path(split), files.extract_shard(split)) for split in splits
    }
    for split, shards in found.items():
        path = merge_stores(
            shards,
            files.local_path(split),
            read_image_list(files.image_list(split)).names,
            how=config["how"],
            compression=config["compression"],
            overwrite=config["overwrite"],
        )
        print(f"{split}: {path} ({len(shards)} shards, {config['how']})")


def _merge_globals(config: Config, files: DatasetFiles, splits: Sequence[str]) -> None:
    kind = config["global"]
    if config["how"] != "copy" or config["compression"] is not None:
        raise ConfigError(
            f"global={kind} with how={config['how']}, compression={config['compression']}",
            expected="how=copy compression=null: global descriptors are copied as they are",
        )
    found = {
        split: find_shards(files.global_path(split, kind), files.extract_shard(split, kind))
        for split in splits
    }
    for split, shards in found.items():
        names = read_image_list(files.image_list(split)).names
        output = files.global_path(split, kind)
        path = merge_globals(shards, output, names, overwrite=config["overwrite"])
        print(f"{split}: {path} ({len(shards)} shards, copy)")


def run_binarization(config: Config) -> None:
    """Fit a projection to bits, named after the data set's folder."""
    files, split = dataset_files(config), config["split"]
    store = files.local(split)
    names = read_image_list(files.image_list(split)).names if is_published(store) else None
    path = fit_binarization(
        store,
        files.binarization_path(files.folder),
        names=names,
        bits=config["bits"],
        seed=config["seed"],
        iterations=config["iterations"],
        max_descriptors=config["max_descriptors"],
        max_images=config["max_images"],
        overwrite=config["overwrite"],
    )
    print(f"binarization: {path}")


def run_topk(config: Config) -> None:
    """Search the gallery for every query, or the training set for every image of it."""
    files, kind, form = dataset_files(config), config["global"], config["form"]
    if form not in FORMS:
        raise ConfigError(f"form={form}", expected=" or ".join(FORMS))
    if config["index"] not in INDEXES:
        raise ConfigError(f"index={config['index']}", expected=" or ".join(INDEXES))
    sides = ("train", "train") if config["self_search"] else ("query", "gallery")
    output, rerank = files.neighbors_path(kind, form), _reranking(config)
    if config["lists"] is not None:
        names = [read_image_list(files.image_list(side)).names for side in sides]
        given = Path(config["lists"]).expanduser()
        keep, overwrite = config["keep"], config["overwrite"]
        path = convert_topk(given, output, *names, keep=keep, overwrite=overwrite)
    else:
        found = find_all({side: partial(files.global_descriptors, side, kind) for side in sides})
        descriptors = [found[side] for side in sides]
        path = prepare_topk(
            descriptors[0],
            descriptors[1],
            output,
            num_neighbors=config["num_neighbors"],
            names=_names_of_published(files, sides, descriptors),
            device="cuda" if pick_device(config["device"]).type == "cuda" else "cpu",
            index=IvfPq(**config["ivf_pq"]) if config["index"] == "ivf_pq" else None,
            rerank=rerank,
            overwrite=config["overwrite"],
        )
    print(f"neighbours: {path}")


def _reranking(config: Config) -> Settings | None:
    """`rerank=`; published: SuperGlobal's lists of queries are reranked, others are not."""
    chosen = config["rerank"]
    if chosen not in RERANKS:
        raise ConfigError(f"rerank={chosen}", expected=f"one of {', '.join(RERANKS)}")
    if chosen in RERANKERS and config["lists"] is not None:
        raise ConfigError(
            f"rerank={chosen} with lists=: these are rewritten as they are",
            expected=f"lists= or rerank={chosen}, which needs the global descriptors",
        )
    if chosen == "published" and config["global"] in NETWORK_OF and not config["self_search"]:
        chosen = "mda"
    return RERANKERS[chosen].settings(**config[chosen]) if chosen in RERANKERS else None


def _names_of_published(
    files: DatasetFiles, sides: Sequence[str], paths: Sequence[Path]
) -> list[Sequence[str] | None]:
    """The image lists of the sides whose descriptors are of the published form, without names."""
    return [
        read_image_list(files.image_list(side)).names if is_published(path) else None
        for side, path in zip(sides, paths, strict=True)
    ]
