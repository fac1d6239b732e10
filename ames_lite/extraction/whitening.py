"""A whitening of global descriptors, `pca_{desc}_{global}_{domain}.npz`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ames_lite.errors import BadInput, require
from ames_lite.extraction.sampling import spread
from ames_lite.io.digest import names_digest
from ames_lite.io.writing import refuse_existing
from ames_lite.retrieval.rows import not_finite
from ames_lite.retrieval.whitening import fit_class_whitening
from ames_lite.retrieval.whitening import fit_whitening as fit
from ames_lite.stores.fitted import write_whitening
from ames_lite.stores.global_store import GlobalStore
from ames_lite.stores.row_layout import DONE

Rows = npt.NDArray[np.int64]
METHODS = ("pca", "within_class")


def fit_whitening(
    globals_path: str | Path,
    output: str | Path,
    *,
    method: str = "pca",
    dim: int = 512,
    shrinkage: float = 0.3,
    labels: npt.NDArray[Any] | None = None,
    names: Sequence[str] | None = None,
    max_images: int = 10_000,
    overwrite: bool = False,
) -> Path:
    """Write the whitening of a complete file of global descriptors and return its path.

    method: pca, or within_class, which needs labels [N] and shrinkage. dim: output width of pca;
    directions that within_class estimates. names: the image list, which a published file needs.
    max_images: sampled evenly over the file, without those that failed. Raises BadInput for fewer
    images than dim + 1, NaN, and for descriptors that span fewer directions.
    """
    refuse_existing(Path(output), overwrite)
    expected = f"one of {', '.join(METHODS)}"
    require(method in METHODS, f"method is '{method}'", expected=expected)
    require(max_images >= 1, f"max_images is {max_images}", expected="at least 1")
    with GlobalStore(globals_path, names=names) as store:
        rows = spread(np.flatnonzero(store.status == DONE), max_images)
        chosen_rows = _Chosen(store, rows)
        how: dict[str, Any] = {"method": "PCA, exact"}
        try:
            if method == "pca":
                whitening = fit(chosen_rows, dim)
            else:
                if labels is None or len(labels) != len(store):
                    what = f"{0 if labels is None else len(labels)} labels, {len(store)} images"
                    raise BadInput(what, expected="a label for every image", remedy="method=pca")
                whitening = fit_class_whitening(chosen_rows, labels[rows], dim, shrinkage)
                how = {"method": "within classes", "shrinkage": shrinkage}
        except BadInput as error:
            raise BadInput(str(error), where=store.path) from error
        chosen = [store.names[row] for row in rows]
        provenance = {
            **store.provenance,
            "images": len(rows),
            "image_names": names_digest(chosen),
            "fitted_on": Path(globals_path).name,
            "dim": dim,
            **how,
        }
    return write_whitening(output, whitening, chosen, provenance, overwrite=overwrite)


class _Chosen:
    """Some rows of a file as a matrix: parts are read when they are asked for, in runs of rows."""

    def __init__(self, store: GlobalStore, rows: Rows) -> None:
        self.store, self.rows = store, rows
        self.shape = (len(rows), store.dim)

    def __getitem__(self, part: tuple[slice, slice]) -> npt.NDArray[Any]:
        rows, columns = self.rows[part[0]], part[1]
        out = np.empty((len(rows), len(range(self.store.dim)[columns])), np.float32)
        breaks = np.flatnonzero(np.diff(rows) > 1) + 1
        edges = [0, *breaks.tolist(), len(rows)]
        for start, stop in zip(edges[:-1], edges[1:], strict=True):
            run = slice(int(rows[start]), int(rows[stop - 1]) + 1)
            out[start:stop] = self.store.part(run, columns)
        bad = ~np.isfinite(out).all(axis=1)
        if bad.any():
            row = int(rows[int(bad.argmax())])
            raise not_finite(f"the descriptor of '{self.store.names[row]}' (row {row})")
        return out
