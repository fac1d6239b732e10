"""The laws of pair scores on disk: reused only for exactly what they were made from."""

from pathlib import Path

import numpy as np
import pytest

from ames_lite.errors import BadInput, MissingFile
from ames_lite.records import PairScores
from ames_lite.stores.pair_scores import read_pair_scores, write_pair_scores
from tests.stores.files import read_digests

DIGESTS = {"weights": "aa", "query_store": "bb", "neighbors": "cc", "settings": "dd"}


def scores() -> PairScores:
    return PairScores(
        np.array([1, 0, 0], np.int32),
        np.array([5, 7, 2], np.int32),
        np.array([0.25, -3.0, 1.5], np.float32),
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_pair_scores(tmp_path / "scores.hdf5", scores(), DIGESTS, {"seed": 0})
    found = read_pair_scores(path, DIGESTS)
    np.testing.assert_array_equal(found.query, [0, 0, 1])
    np.testing.assert_array_equal(found.gallery, [2, 7, 5])
    np.testing.assert_array_equal(found.logit, np.array([1.5, -3.0, 0.25], np.float32))
    np.testing.assert_array_equal(found.lookup(np.array([[7], [5]])), [[-3.0], [0.25]])
    assert read_digests(path) == DIGESTS


@pytest.mark.parametrize(
    ("changes", "there", "here"),
    [({"weights": "ee"}, "aa", "ee"), ({"mask": "ff"}, "absent", "ff")],
)
def test_any_difference_is_refused_by_its_key(
    tmp_path: Path, changes: dict[str, str], there: str, here: str
) -> None:
    path = write_pair_scores(tmp_path / "scores.hdf5", scores(), DIGESTS)
    with pytest.raises(BadInput) as error:
        read_pair_scores(path, {**DIGESTS, **changes})
    for part in (f"another {next(iter(changes))}: {there} there, {here} here", str(path)):
        assert part in str(error.value)
    assert "remedy" in str(error.value)


def test_a_digest_that_the_reader_forgets_is_a_difference(tmp_path: Path) -> None:
    path = write_pair_scores(tmp_path / "scores.hdf5", scores(), DIGESTS)
    with pytest.raises(BadInput, match="another weights: aa there, absent here"):
        read_pair_scores(path, {k: v for k, v in DIGESTS.items() if k != "weights"})


def test_no_pairs_are_pairs_too(tmp_path: Path) -> None:
    none = PairScores(*(np.zeros(0, t) for t in (np.int32, np.int32, np.float32)))
    path = write_pair_scores(tmp_path / "scores.hdf5", none, DIGESTS)
    assert len(read_pair_scores(path, DIGESTS).logit) == 0


def test_scores_are_not_replaced_unasked_nor_digests_left_vague(tmp_path: Path) -> None:
    path = write_pair_scores(tmp_path / "scores.hdf5", scores(), DIGESTS)
    with pytest.raises(BadInput, match="overwrite"):
        write_pair_scores(path, scores(), DIGESTS)
    with pytest.raises(BadInput, match="weights"):
        write_pair_scores(path, scores(), {"weights": None}, overwrite=True)  # type: ignore[dict-item]
    write_pair_scores(path, scores(), DIGESTS, overwrite=True)
    with pytest.raises(MissingFile, match="score the pairs"):
        read_pair_scores(tmp_path / "no.hdf5", DIGESTS)
