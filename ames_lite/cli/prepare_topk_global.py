"""`python extract/prepare_topk_global.py`: neighbor lists by global similarity."""

from functools import partial

from ames_lite.cli.extraction import names_of_published
from ames_lite.cli.schema.extraction import PrepareTopkGlobal
from ames_lite.cli.schema.keys import some_of
from ames_lite.cli.shell import dataset_files
from ames_lite.datasets.layout import NETWORK_OF, find_all
from ames_lite.errors import check_config
from ames_lite.extraction.neighbors import convert_topk, prepare_topk
from ames_lite.retrieval.rerank_parts import Reranker
from ames_lite.retrieval.rerankers import RERANKERS
from ames_lite.runtime import pick_device


def run(config: PrepareTopkGlobal) -> None:
    """Search the gallery for every query, or the training set for every image of it."""
    files, kind, form = dataset_files(config), config.global_, config.form
    sides = ("train", "train") if config.self_search else ("query", "gallery")
    output, rerank = files.neighbors_path(kind, form), _reranking(config)
    if config.lists is not None:
        names = [files.names(side) for side in sides]
        keep, overwrite = config.keep, config.overwrite
        path = convert_topk(config.lists, output, *names, keep=keep, overwrite=overwrite)
    else:
        found = find_all({side: partial(files.global_descriptors, side, kind) for side in sides})
        query, gallery = (found[side] for side in sides)
        how = some_of(config, ("num_neighbors", "overwrite"))
        how["names"] = [names_of_published(files, side, found[side]) for side in sides]
        how["device"] = "cuda" if pick_device(config.device).type == "cuda" else "cpu"
        how["index"] = config.ivf_pq if config.index == "ivf_pq" else None
        path = prepare_topk(query, gallery, output, rerank=rerank, **how)
    print(f"neighbours: {path}")


def _reranking(config: PrepareTopkGlobal) -> Reranker | None:
    """`rerank=`; published: SuperGlobal's lists of queries are reranked, others are not."""
    chosen: str = config.rerank
    what = f"rerank={chosen} with lists=: these are rewritten as they are"
    expected = f"lists= or rerank={chosen}, which needs the global descriptors"
    check_config(config.lists is None or chosen not in RERANKERS, what, expected)
    if chosen == "published" and config.global_ in NETWORK_OF and not config.self_search:
        chosen = "mda"
    return RERANKERS[chosen](**vars(getattr(config, chosen))) if chosen in RERANKERS else None
