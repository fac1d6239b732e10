"""`python scripts/classify.py`: descriptors with classes in, a classifier and its figures out. With
predict=<image or folder> the classes of new images, by the model of an earlier run.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ames_lite.classification import data as sets
from ames_lite.classification import pictures
from ames_lite.classification.data import TEST, TRAIN, Labelled, Splitting, read_labelled
from ames_lite.classification.judging import Judged, class_rows, confusion_of, image_rows, judge
from ames_lite.classification.models import Classifier, fit
from ames_lite.classification.scikit import check_scikit, tsne
from ames_lite.cli.compose import compose
from ames_lite.cli.extraction import configured_backbone
from ames_lite.cli.schema.jobs import Classify
from ames_lite.cli.schema.keys import Named, some_of
from ames_lite.cli.searching import say_failed
from ames_lite.cli.shell import dataset_files, find_vocabulary, print_table, run_dir, run_prefix
from ames_lite.datasets.custom.files import read_description
from ames_lite.datasets.custom.truth import make_custom
from ames_lite.datasets.layout import find_all
from ames_lite.datasets.relation import Relation
from ames_lite.errors import BadInput, MissingFile, check_config
from ames_lite.evaluation.figures import save_figure
from ames_lite.evaluation.plots import reliability_diagram
from ames_lite.extraction.aggregators import SAME, Aggregator, Gem, Mean, Vlad
from ames_lite.extraction.backbones.interface import OF_LOCAL
from ames_lite.extraction.globals import from_images
from ames_lite.io.images import load_image, thumbnail
from ames_lite.io.json_file import write_json_file
from ames_lite.io.overrides import word
from ames_lite.io.provenance import SAME_GLOBALS, compare_known
from ames_lite.records import LocalDescriptors
from ames_lite.search.image_search import list_queries
from ames_lite.stores.descriptor_store import DescriptorStore
from ames_lite.stores.fitted import write_vocabulary
from ames_lite.stores.global_store import GlobalStore
from ames_lite.training.recipe import ClassifierRecipe

LAST, MODEL, VOCABULARY = "classification.json", "model", "vocabulary.npz"
THUMBNAIL = 400  # pixels of a picture's longer side


def run(config: Classify) -> Any:
    """Fit and judge classifiers: the best first; or predict: probabilities by image and class."""
    if config.predict is not None:
        return _predict(config)
    _check(config)
    files, made = dataset_files(config), _relation(config)
    splits = ["gallery"] + ["query"] * (not {*made.query_names} <= {*made.gallery_names})
    needed = {s: partial(files.global_descriptors, s, config.global_) for s in splits}
    if config.clusters is not None:
        needed |= {f"{split} local": partial(files.local, split) for split in splits}
    found = find_all(needed)
    stores = [GlobalStore(found.pop(split)) for split in splits]
    how = Splitting(config.scene, config.test_share, config.val_share, config.seed)
    data, notes = read_labelled(stores, made, how)
    if config.scene is None and made.scenes is None and not made.queries_are_named:
        notes.append("no scene=: with images of one place on both sides, test says too much")
    print("\n".join([*notes, data.sizes()]))
    vlad = None if config.global_ != "vlad" else _vocabulary(config, stores[0])
    clusters = _clusters(config, data, vlad, [DescriptorStore.open(one) for one in found.values()])
    folder = run_dir(config, run_prefix(config, "classify"), LAST)
    judged = _judged(config, data, clusters, folder)
    best = judged[0]
    confusion = confusion_of(data, best)
    _save(config, folder / MODEL, best, stores[0].provenance, vlad)
    _draw(folder, data, judged, confusion)
    if clusters is not None:
        root = config.images or files.image_root
        _draw_clusters(config.show, folder, root, data, clusters)
    about = {"schema": 1, "notes": notes, "classes": data.classes, "best": str(best.classifier)}
    images = {"images": image_rows(data, best)}
    write_json_file(folder / LAST, about | _tables(data, judged, confusion) | images)
    print(f"{folder}; to use it: predict=<image or folder> weights={folder / MODEL}")
    return judged


def _check(config: Classify) -> None:
    check_config(config.classifiers, "classifiers=[]", "some of mlp, knn, logistic")
    late = [epoch for epoch in config.tsne if not 1 <= epoch <= config.epochs]
    check_config(not late, f"tsne={config.tsne}", f"epochs from 1 to {config.epochs}")
    fits = config.clusters is None or config.global_ == "vlad"
    check_config(fits, f"clusters= and global={config.global_}", "clusters= is for global=vlad")
    if "logistic" in config.classifiers or config.tsne or isinstance(config.clusters, int):
        check_scikit("this", "classifiers=[mlp,knn] without tsne=, and clusters by hand")


def _relation(config: Classify) -> Relation:
    """Classes, scenes and sides of the images, from what the data set was prepared from."""
    files = dataset_files(config)
    description = read_description(files.root)
    if description is None:
        expected, remedy = "dataset=folder, with images= and labels= when first used", files.page
        raise MissingFile("missing: classes", where=files.root, expected=expected, remedy=remedy)
    return make_custom(description.options)


def _vocabulary(config: Classify, store: GlobalStore) -> Vlad:
    """Raises BadInput where the descriptors are not of it, or not of hard assignment."""
    vlad = Vlad(find_vocabulary(config, config.vocabulary))
    keys = ("vocabulary", "assignment", "unit_descriptors")
    compare_known(store.provenance, vlad.provenance, keys, files=(store.path, vlad.path))
    return vlad


class _Clusters(NamedTuple):
    """Chosen clusters of a vocabulary, and what reads the local descriptors of an image."""

    vlad: Vlad
    chosen: list[int]
    read: Callable[[str], LocalDescriptors]


def _clusters(
    config: Classify, data: Labelled, vlad: Vlad | None, stores: Sequence[DescriptorStore]
) -> _Clusters | None:
    if config.clusters is None or vlad is None:
        return None
    where = {name: (store, row) for store in stores for row, name in enumerate(store.names)}

    def read(name: str) -> LocalDescriptors:
        store, row = where[name]
        return store.read(row)

    rows = np.flatnonzero(data.side == TRAIN)
    shares = sets.cluster_shares((read(data.names[row]) for row in rows), vlad)
    chosen = sets.choose_clusters(shares, data.labels[rows], config.clusters, config.seed)
    print(f"clusters: {', '.join(map(str, chosen))}")
    return _Clusters(vlad, chosen, read)


def _judged(
    config: Classify, data: Labelled, clusters: _Clusters | None, folder: Path
) -> list[Judged]:
    """All classifiers, of all clusters and of the chosen ones; the best one first."""
    recipe = ClassifierRecipe(**some_of(config, ClassifierRecipe.__dataclass_fields__))
    found = list[Judged]()
    parts: list[tuple[list[int] | None, Labelled]] = [(None, data)]
    if clusters is not None:
        num_clusters = len(clusters.vlad.centroids)
        parts.append((clusters.chosen, data.masked(clusters.chosen, num_clusters)))
    for chosen, part in parts:
        watch = partial(_draw_tsne, config, data, folder, chosen)
        for name in config.classifiers:
            found.append(judge(fit(name, part, recipe, chosen, watch), data, config.seed))
    return sorted(found, key=lambda one: one.order)


def _draw_tsne(
    config: Classify, data: Labelled, folder: Path, some: list[int] | None, epoch: int, hidden: Any
) -> None:
    if epoch in config.tsne:
        of = "" if some is None else f"_of_{len(some)}_clusters"
        title = f"hidden layer after epoch {epoch}{of.replace('_', ' ')}"
        points = tsne(hidden, seed=config.seed)
        figure = pictures.tsne_figure(points, data.labels, data.side, data.classes, title)
        save_figure(figure, folder / f"tsne{of}_{epoch:03}.png")


def _save(config: Classify, folder: Path, best: Judged, made: Any, vlad: Vlad | None) -> None:
    """The best classifier, with all that predict= needs."""
    usual = compose("extract_globals", [word("desc_name", config.desc_name)]).backbone
    backbone = config.backbone or usual
    more = {"backbone": backbone and vars(backbone), "descriptors": made, "accuracy": best.accuracy}
    best.classifier.about.update(more)
    best.classifier.save(folder)
    if vlad is not None:
        write_vocabulary(folder / VOCABULARY, vlad.centroids, vlad.made)


def _draw(folder: Path, data: Labelled, judged: Sequence[Judged], confusion: Any) -> None:
    title = f"{judged[0].classifier}: images of the test side"
    figures = {"confusion": pictures.confusion_figure(confusion, data.classes, title)}
    figures["reliability"] = reliability_diagram(judged[0].curves, title)
    for one in (one.classifier for one in judged):
        if lines := one.about.get("epochs"):
            figures[f"epochs_{one}".replace(" ", "_")] = pictures.epochs_figure(lines, str(one))
    for name, figure in figures.items():
        save_figure(figure, folder / f"{name}.png")


def _draw_clusters(
    show: int, folder: Path, root: Path, data: Labelled, clusters: _Clusters
) -> None:
    """Test images, spread over the classes, with the chosen clusters over them."""
    test = np.flatnonzero(data.side == TEST)
    test = test[np.argsort(data.labels[test], kind="stable")]
    vlad, chosen, drawn = clusters.vlad, clusters.chosen, []
    colours = np.full((len(vlad.centroids), 3), np.nan)
    colours[chosen] = pictures.cluster_hues(len(chosen))
    for at in np.unique(np.linspace(0, len(test) - 1, show).round().astype(int)).tolist():
        name = data.names[test[at]]
        image, local = thumbnail(load_image(root / name), THUMBNAIL), clusters.read(name)
        own = sets.assigned(local, vlad)
        drawn.append((name, pictures.tinted(image, local.xy, own, colours)))
    if drawn:
        title = f"{len(chosen)} of {len(vlad.centroids)} clusters on images of the test side"
        save_figure(pictures.cluster_sheet(drawn, chosen, title), folder / "clusters.png")


def _tables(data: Labelled, judged: Sequence[Judged], confusion: Any) -> dict[str, Any]:
    """Print the table of classifiers and, of the best one, that of classes; as JSON."""
    best, rows, classes = judged[0], [one.row() for one in judged], class_rows(data, confusion)
    _print(rows)
    print(f"\n{best.classifier}, by class:")
    _print(classes)
    train, test = best.accuracy["train"], best.accuracy["test"]
    verdict = ": overfitting" * (train > best.test.high)
    print(f"\n{best.classifier}: {train:.1%} of the images it knows, {test:.1%} of new{verdict}")
    most = max(classes, key=lambda row: row["train"])
    always = most["test"] / int(confusion.sum())
    print(f"for comparison, always {most['class']}: {always:.1%} of new")
    return {"classifiers": rows, "per_class": classes, "confusion": confusion.tolist()}


def _print(rows: Sequence[Mapping[str, Any]]) -> None:
    print_table(list(rows[0]), [list(row.values()) for row in rows])


def _predict(config: Classify) -> dict[str, dict[str, float]]:
    """The `top` classes of every image, with their probabilities."""
    assert config.predict is not None
    folder = config.weights or _newest()
    model = Classifier.load(folder)
    made, known = model.about["descriptors"], model.about["backbone"]
    backbone = configured_backbone(Named(**known) if known else config.backbone, config)
    root, names, notes = list_queries(config.predict)
    way = _aggregator(made, folder / VOCABULARY)
    workers, flip = config.workers, "flip" in made
    source = from_images(backbone, root, names, way, workers=workers, flip=flip)
    keys = (*SAME, *SAME_GLOBALS, "image_size", "scales")
    compare_known(made, source.made, keys, files=(folder, "this run"))
    print("\n".join(notes), end="\n" * bool(notes))
    found, failed, rest = dict[str, dict[str, float]](), dict[str, str](), iter(names)
    for block in source.blocks(0):
        for at, row in enumerate(model.probabilities(block.vectors.astype(np.float32))):
            name = next(rest)
            if at in block.failed:
                failed[name] = block.failed[at]
            else:
                order = np.argsort(-row, kind="stable")[: config.top].tolist()
                found[name] = {model.classes[label]: float(row[label]) for label in order}
    rows = [[name, label, p] for name, one in found.items() for label, p in one.items()]
    print_table(["image", "class", "probability"], rows)
    say_failed(failed, f"of {len(names)} images cannot be described")
    if failed and config.on_bad_image == "error":
        remedy = "mend or remove them, or on_bad_image=skip"
        raise BadInput(f"{len(failed)} images cannot be described", remedy=remedy)
    return found


def _newest() -> Path:
    found = sorted(Path("runs").glob(f"classify_*/{MODEL}"), key=lambda path: path.stat().st_mtime)
    what, expected = "weights= is not given, and runs/ has no model", "weights=<run>/model"
    check_config(found, what, expected)
    return found[-1]


def _aggregator(made: Any, vocabulary: Path) -> Aggregator | None:
    """How such descriptors were made from local ones; None: by the backbone itself."""
    if made["global"] == "vlad":
        return Vlad(vocabulary)
    if made["global"] == "gem" and not made.keys().isdisjoint(OF_LOCAL):
        return Gem(made["power"])
    return Mean() if made["global"] == "mean" else None
