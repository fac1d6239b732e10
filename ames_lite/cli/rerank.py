"""`python scripts/rerank.py candidates=<file>`: lists from anywhere, reranked, in the same form."""

from pathlib import Path
from typing import Any

import numpy as np

from ames_lite.cli.extraction import configured_backbone
from ames_lite.cli.schema.jobs import Rerank
from ames_lite.cli.schema.keys import some_of
from ames_lite.cli.scoring_run import scoring_options
from ames_lite.cli.searching import Head, images_folder, open_head
from ames_lite.cli.shell import dataset_files, run_dir
from ames_lite.datasets.relation import SIDES
from ames_lite.errors import ConfigError, check_config, chosen, require
from ames_lite.evaluation.data import Stores, find_files, open_stores, read_lists
from ames_lite.extraction.descriptors import extract_descriptors
from ames_lite.io.images import list_images
from ames_lite.records import PairScores
from ames_lite.reranking.scorer import Ids, listed_pairs, rerank_lists
from ames_lite.runtime import pick_device
from ames_lite.stores import candidates as forms
from ames_lite.stores.candidates import WRITTEN, Candidates
from ames_lite.stores.descriptor_store import DescriptorStore

Names = list[Any]  # of queries, of the gallery
Rows = list[Ids]


def run(config: Rerank) -> Candidates:
    """Rerank as configured; returns the lists."""
    if config.candidates is None:
        raise ConfigError("candidates= is not given", expected="candidates=<file>")
    of_set = config.dataset.option != ""
    one = of_set is (config.images is None)
    check_config(one, "one of dataset= and images= is needed", "stores, or a folder of images")
    given = forms.read_candidates(config.candidates, config.form, config.kind, sims=config.sims)
    form = config.out_form or given.form
    last = chosen(form, WRITTEN, "form to write").format("")
    head = open_head(config, config.desc_name if of_set else config.backbone.name)
    stores = _stores_of_set(config) if of_set else None
    names: Names = [one.names for one in stores] if stores else [*map(list_images, _roots(config))]
    given = forms.in_form(given, form, *names)
    rows, found = given.rows(*names)
    pairs = listed_pairs(rows, found, config.num_rerank)
    require(len(pairs[0]), "no query has a candidate", where=config.candidates)
    folder = run_dir(config, f"rerank_{config.candidates.stem}", last)
    print(given)
    used = [np.arange(len(one)) for one in names] if stores else [np.unique(one) for one in pairs]
    of_pairs = stores or _described(config, folder, names, used)
    scores, said = _score(config, head, of_pairs, used, pairs)
    ranked = rerank_lists(given, rows, found, scores, head.lamb, head.temp, config.num_rerank)
    print(said + "; without similarities the logits alone decide" * (given.sims is None))
    path = forms.write_candidates(
        folder / last, form, ranked.first(config.top), tag=head.scorer.name
    )
    print(f"results: {path}")
    return ranked


def _score(
    config: Rerank, head: Head, stores: Stores, used: Rows, pairs: tuple[Ids, Ids]
) -> tuple[PairScores, str]:
    """Scores of pairs of rows, and what was done; used: those that the stores have."""
    counts = config.query_desc_num, config.gallery_desc_num
    options = scoring_options(config, pick_device(config.device), *counts)
    query, gallery = (np.searchsorted(*both) for both in zip(used, pairs, strict=True))
    scores, cost = head.scorer.score(*stores, query, gallery, options)
    said = f"{head.scorer.name}: λ {head.lamb:g}, γ {head.temp:g} ({head.role}), {cost.pairs} pairs"
    rows = used[0].astype(np.int32)[scores.query], used[1].astype(np.int32)[scores.gallery]
    return PairScores(*rows, scores.logit), f"{said} scored in {cost.seconds_scoring:.2f} s"


def _stores_of_set(config: Rerank) -> Stores:
    files = dataset_files(config)
    paths = find_files(files, None)
    return open_stores(files, paths, read_lists(paths))


def _roots(config: Rerank) -> tuple[Path, Path]:
    """The folders of queries and gallery."""
    gallery, query = images_folder(config.images), config.query_images
    return gallery if query is None else images_folder(query, "query_images"), gallery


def _described(config: Rerank, folder: Path, names: Names, used: Rows) -> Stores:
    """Stores of the images that are used, in the run directory."""
    backbone, stores = configured_backbone(config.backbone, config), []
    for side, root, listed, rows in zip(SIDES, _roots(config), names, used, strict=True):
        path, how = folder / f"{side}_local.hdf5", some_of(config, ("workers", "on_bad_image"))
        extract_descriptors(backbone, root, [listed[row] for row in rows], local=path, **how)
        stores.append(DescriptorStore.open(path))
    return stores[0], stores[1]
