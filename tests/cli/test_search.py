"""The command: pictures in; a list, JSON and a page out; mistakes are found before the work."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ames_lite import hub
from ames_lite.cli import search, searching
from ames_lite.cli.compose import compose
from ames_lite.cli.searching import index_folder
from ames_lite.errors import BadInput, ConfigError, MissingFile
from ames_lite.extraction.backbones.sift import Sift
from ames_lite.io.checkpoint import HeadMeta, load_head, save_head
from ames_lite.io.digest import file_digest
from ames_lite.io.images import list_images, load_image, save_jpeg
from ames_lite.models import AMES, ELViS
from ames_lite.records import NO_EVIDENCE
from ames_lite.reranking import Reranker
from ames_lite.reranking.calibration import Calibration, Curve
from ames_lite.reranking.cascade import Cascade
from ames_lite.search import image_search
from ames_lite.search.image_search import Found
from tests.helpers import main_of, shared_file
from tests.pages import Page

SIFT = {"top_k": 40, "image_size": 200}
LAMB, TEMP = 0.3, 0.7


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head with random weights, released with λ and γ."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    head = AMES(dim_in=128, dim=32, num_layers=2, dim_feedforward=32)
    made = {"tuned_on": "synthetic-val"}
    save_head(folder, head, HeadMeta("sift", LAMB, TEMP, made))
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(14):
        coarse = np.random.default_rng(number).integers(0, 255, (24, 20 + number, 3))
        save_jpeg(folder / f"{number:02}.jpg", np.kron(coarse, np.ones((6, 6, 1))).astype("u1"), 90)
    return folder


@pytest.fixture(scope="module")
def root(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the index of the photos."""
    root = tmp_path_factory.mktemp("root")
    assert search.run(config(photos, root)) is None
    return root


def config(photos: Path, root: Path, *more: str) -> dict[str, Any]:
    given = [f"images={photos}", f"data_root={root}", "workers=1", "device=cpu", "backbone=sift"]
    given += [f"backbone.arguments.{key}={value}" for key, value in SIFT.items()]
    return compose("search", ["model=ames", *given, *more])


def found(photos: Path, root: Path, output: Path, *more: str) -> Found:
    result = search.run(config(photos, root, f"output_dir={output}", *more))
    assert result is not None
    return result


def test_the_order_is_that_of_the_few_line_api(
    photos: Path, root: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = tmp_path / "asked.jpg"
    shutil.copy(photos / list_images(photos)[3], query)
    one = found(photos, root, tmp_path / "run", f"query={query}", f"weights={weights}")
    names = list_images(photos)
    sift = Sift(**SIFT)
    described = {
        name: sift.extract(load_image(photos / name)).descriptors.astype(np.float16)
        for name in names
    }
    asked = sift.extract(load_image(query)).descriptors.astype(np.float16)
    by_id = np.argsort(one.hits.ids[0])
    sims = one.hits.sims[0][by_id]
    reranker = Reranker(load_head(weights)[0], LAMB, TEMP)
    wanted = reranker.rerank(asked, [described[name] for name in names], sims=sims)
    assert one.gallery == tuple(names) and one.own == (None,)
    np.testing.assert_array_equal(one.hits.ids, wanted.ids)
    np.testing.assert_allclose(one.hits.scores, wanted.sims, atol=1e-5)
    by_sim = np.argsort(-sims, kind="stable")
    np.testing.assert_array_equal(by_sim[one.hits.global_rank[0] - 1], one.hits.ids[0])
    assert one.hits.global_rank[0][one.names(0).index(names[3])] == 1  # its copy
    printed = capsys.readouterr().out
    assert f"λ {LAMB}, γ {TEMP} (frozen with the head, chosen on synthetic-val)" in printed
    read = json.loads((tmp_path / "run" / "retrieval_results.json").read_text())
    assert read == {"asked.jpg": one.names(0)}
    scored = json.loads((tmp_path / "run" / "retrieval_results_scores.json").read_text())
    assert [name for name, _ in scored["asked.jpg"]] == one.names(0)
    assert [score for _, score in scored["asked.jpg"]] == pytest.approx(one.hits.scores[0].tolist())


def test_a_query_of_the_folder_is_left_out_of_its_own_list_and_that_is_said(
    photos: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = list_images(photos)
    link = tmp_path / "link.jpg"
    link.symlink_to(photos / names[2])
    one = found(photos, root, tmp_path / "run", f"query={link}", "model=ransac")
    assert one.own == (names[2],) and sorted(one.names(0)) == names[:2] + names[3:]
    assert f"in the folder itself, as {names[2]}" in capsys.readouterr().out
    all_of_them = found(photos, root, tmp_path / "all", f"query={photos}", "model=mutual_nn")
    assert all_of_them.own == tuple(names)
    for q, name in enumerate(names):
        assert sorted([*all_of_them.names(q), name]) == names


def test_queries_later_leave_the_index_as_it_is(photos: Path, root: Path, tmp_path: Path) -> None:
    index = index_folder(config(photos, root), photos)

    def state() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(index.iterdir())}

    before = state()
    for number, more in enumerate(("update=true", "update=false")):
        query = f"query={photos / list_images(photos)[number]}"
        found(photos, root, tmp_path / str(number), query, "model=mutual_nn", more)
    assert {**state(), "index.json": b""} == {**before, "index.json": b""}


def test_a_box_searches_for_a_part(photos: Path, root: Path, tmp_path: Path) -> None:
    query = photos / list_images(photos)[0]
    height, width = load_image(query).shape[:2]
    given = [f"query={query}", "model=mutual_nn", "num_rerank=3"]
    whole = found(photos, root, tmp_path / "whole", *given, f"box=[0,0,{width},{height}]")
    plain = found(photos, root, tmp_path / "plain", *given)
    part = found(photos, root, tmp_path / "part", *given, f"box=[0,0,{width // 2},{height // 2}]")
    np.testing.assert_array_equal(whole.hits.scores, plain.hits.scores)
    assert whole.hits.ids.shape == (1, 3) and not np.array_equal(whole.hits.sims, part.hits.sims)


def test_the_page_shows_the_list_and_escapes_names(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "<i>it's a (folder), [1]=&"
    shutil.copytree(photos, folder)
    names = list_images(folder)
    odd = '<script>alert("1")<_script>.jpg'
    (folder / names[0]).rename(folder / odd)
    (folder / "<b>bad.jpg").write_text("no image")
    queries = tmp_path / "queries"
    queries.mkdir()
    shutil.copy(folder / odd, queries / odd)
    (queries / "<u>worse.jpg").write_text("no image")
    given = [f"images={folder}", f"query={queries}", f"data_root={tmp_path}", "workers=1"]
    given += [f"backbone.arguments.{key}={value}" for key, value in SIFT.items()]
    given += ["backbone=sift", "model=mutual_nn", "top=4", f"output_dir={tmp_path / 'run'}"]
    assert main_of("search")(given) == 0
    listed = json.loads((tmp_path / "run" / "retrieval_results.json").read_text())[odd]
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("script") == 2 and "://" not in text  # its JSON and its own
    assert not {"i", "u"} & set(page.tags)
    (view,) = page.views
    assert view["name"] == odd and view["marks"] == [] and view["aps"] is None
    shown = [tile["name"] for tile in view["lists"][0]]
    assert shown == listed[:4] and odd in shown
    assert [tile["rank"] for tile in view["lists"][0]] == [1, 2, 3, 4]
    assert len(page.pictures) == 5 and all(data for data, _ in page.pictures)
    explained = [tile["picture"] for tile in view["lists"][0]]
    assert set(view["pairs"]) == {str(number) for number in explained}  # first five: all four
    assert view["pairs"][str(explained[0])]["matches"][0][4] == 1000
    for word in ("<b>bad.jpg", "<u>worse.jpg", str(folder), "mutual_nn"):
        assert word in page.text


def test_bad_images_are_named_once_and_counted_and_may_be_an_error(
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = shutil.copytree(photos, tmp_path / "folder")
    (folder / "bad.jpg").write_text("no image")
    for more in ([], ["model=mutual_nn", f"query={folder}", f"output_dir={tmp_path / 'run'}"]):
        caplog.clear()
        search.run(config(folder, tmp_path, *more))
        printed = capsys.readouterr().out
        assert "1 of 15 images cannot be described" in printed and "bad.jpg: an image" in printed
        assert (printed + caplog.text).count("bad.jpg:") == 1  # also where it is a query
    with pytest.raises(BadInput, match="1 images cannot be described") as caught:
        search.run(config(folder, tmp_path, "on_bad_image=error"))
    assert "bad.jpg" in str(caught.value)


def test_images_without_descriptors_are_named_and_like_no_image(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, query = shutil.copytree(photos, tmp_path / "folder"), tmp_path / "query.png"
    for place, grey in ((folder / "z1.png", 9), (folder / "z2.png", 90), (query, 200)):
        save_jpeg(place.with_suffix(".jpg"), np.full((60, 80, 3), grey, np.uint8), 90)
    given = ["model=chamfer", "lamb=0.5", "temp=0.5", f"query={query.with_suffix('.jpg')}"]
    for number, more in enumerate(("update=true", "update=false")):
        one = found(folder, tmp_path, tmp_path / str(number), *given, more)
        printed = capsys.readouterr().out
        assert "2 of 16 images have no descriptors: z1.jpg, z2.jpg" in printed
        assert "1 of 1 queries has no descriptors: query.jpg" in printed
        assert one.empty == {"query.jpg"} and (one.hits.scores == 0).all()
        assert one.names(0) == list_images(folder)
        page = (tmp_path / str(number) / "report.html").read_text(encoding="utf-8")
        assert "2: z1.jpg, z2.jpg" in page and "1: query.jpg" in page
    asked = f"query={folder / list_images(folder)[0]}"
    one = found(folder, tmp_path, tmp_path / "other", *given[:1], "lamb=0", "temp=0.5", asked)
    assert one.names(0)[-2:] == ["z1.jpg", "z2.jpg"] and (one.hits.scores[0, -2:] == 0).all()


def test_mistakes_are_found_before_the_work(photos: Path, root: Path, tmp_path: Path) -> None:
    query, text = f"query={photos / list_images(photos)[0]}", tmp_path / "text.jpg"
    text.write_text("no image")
    (tmp_path / "empty").mkdir()
    fresh = tmp_path / "fresh"  # where an index would appear
    cases: list[tuple[type[Exception], str, list[str]]] = [
        (MissingFile, "query is missing", [f"query={tmp_path / 'nothing.jpg'}", "model=ransac"]),
        (BadInput, "no images in the folder", [f"query={tmp_path / 'empty'}", "model=ransac"]),
        (ConfigError, r"box=\[5", [query, "model=ransac", "box=[5,5,2,9]"]),
        (ConfigError, "single query image", [f"query={photos}", "model=ransac", "box=[1,1,2,9]"]),
        (ConfigError, "num_rerank=0", [query, "model=ransac", "num_rerank=0"]),
        (ConfigError, "on_bad_image=maybe", ["on_bad_image=maybe"]),
        (ConfigError, "a number or null", [query, "model=ransac", "lamb=[0.1,0.2]", "temp=1.0"]),
        (ConfigError, "λ and γ are unknown", [query, "model=chamfer"]),
        (ConfigError, "needs trained weights", [query, f"weights={tmp_path / 'nowhere'}"]),
        (MissingFile, "no head .* is shipped", [query, "model=elvis", "backbone=tiny_random"]),
    ]
    for kind, message, given in cases:
        own = [one for one in SIFT if "backbone=tiny_random" in given]
        base = [f"images={photos}", f"data_root={fresh}", "workers=1", "backbone=sift"]
        base += [f"backbone.arguments.{key}={SIFT[key]}" for key in SIFT if not own]
        with pytest.raises(kind, match=message):
            search.run(compose("search", [*base, *given]))
        assert not fresh.exists(), message
    with pytest.raises(ConfigError, match="images= is not given"):
        search.run(compose("search", []))
    with pytest.raises(MissingFile, match="folder of images is missing"):
        search.run(config(tmp_path / "nowhere", root))
    with pytest.raises(BadInput, match="no query can be described"):
        search.run(config(photos, root, f"query={text}", "model=ransac"))
    with pytest.raises(MissingFile, match="no index here"):
        search.run(config(photos, fresh, query, "model=ransac", "update=false"))
    with pytest.raises(BadInput, match="top_k is 40"):
        given = ["update=false", "backbone.arguments.top_k=41"]
        search.run(config(photos, root, query, "model=ransac", *given))
    with pytest.raises(BadInput, match="no images in the folder"):
        search.run(config(tmp_path / "empty", root))


def test_a_missing_release_says_what_to_do(
    photos: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (hub, searching):
        monkeypatch.setattr(module, "shipped", lambda name: tmp_path / name)
    query = f"query={photos / list_images(photos)[0]}"
    with pytest.raises(MissingFile, match="no head .* is shipped") as caught:
        search.run(config(photos, root, query))
    assert "make demo" in str(caught.value) and "model=ransac" in str(caught.value)


def test_a_released_head_and_vocabulary_are_used_without_being_named(
    photos: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(weights, folder / "sift_ames")
    for module in (hub, searching):
        monkeypatch.setattr(module, "shipped", lambda name: folder / name)
    query = f"query={photos / list_images(photos)[0]}"
    fitted = found(photos, tmp_path, tmp_path / "one", query)
    index = index_folder(config(photos, tmp_path), photos)
    shutil.copy(next(index.glob("vocabulary_*.npz")), folder / "sift_ames" / "vlad_sift_made.npz")
    other = tmp_path / "other"
    again = found(photos, other, tmp_path / "two", query)
    np.testing.assert_array_equal(fitted.hits.scores, again.hits.scores)
    assert list((index_folder(config(photos, other), photos)).glob("vocabulary_*.npz"))


def test_real_photographs_are_searched(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in sorted(path.name for path in shared_file("photos").glob("dev_*.jpg"))[:5]:
        (folder / name).symlink_to(shared_file("photos") / name)
    given = [f"images={folder}", f"query={folder / 'dev_002.jpg'}", f"data_root={tmp_path}"]
    given += ["workers=1", f"output_dir={tmp_path / 'run'}", "max_false=0.05"]
    one = search.run(compose("search", given))  # with what is shipped
    assert one is not None and len(one.gallery) == 5
    assert one.names(0)[0] == "dev_003.jpg"  # the same room, from the other side
    answer = json.loads((tmp_path / "run" / "answers.json").read_text())["dev_002.jpg"]
    assert answer["image"] == "dev_003.jpg" and 0.05 < answer["probability"] < 1


def calibrated(weights: Path, folder: Path, best_wrong: float) -> Path:
    """The head, calibrated so that every score below best_wrong may be a false answer."""
    head, meta = load_head(weights)
    line = Curve((0.0, 1.0), (0.0, 1.0))
    content = Calibration(line, line, {"val": (best_wrong,) * 99}).as_json()
    save_head(folder, head, replace(meta, calibration=content))
    return folder


def test_a_calibrated_head_says_probabilities_and_refuses_what_is_not_there(
    photos: Path,
    root: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    query = tmp_path / "asked.jpg"
    shutil.copy(photos / list_images(photos)[3], query)
    asked = [f"query={query}", "max_false=0.05"]
    for best_wrong, there in ((-1.0, True), (2.0, False)):
        head = calibrated(weights, tmp_path / f"head{there}", best_wrong)
        run = tmp_path / f"run{there}"
        one = found(photos, root, run, *asked, f"weights={head}")
        printed = capsys.readouterr().out
        assert ("not in this gallery" in printed) != there
        assert ("probability" in printed) == there
        answer = json.loads((run / "answers.json").read_text())["asked.jpg"]
        assert answer["in_gallery"] == there and answer["image"] == one.names(0)[0]
        assert answer["probability"] == pytest.approx(np.clip(one.hits.scores[0, 0], 0, 1))
        page = Page((run / "report.html").read_text())
        assert page.views[0]["marks"] == ([] if there else ["not in this gallery"])
        assert "p how often candidates of such a score were right" in page.text
        assert ", p " in page.tiles()[0]["said"]


def test_threshold_and_max_false_are_refused_where_they_say_nothing(
    photos: Path, root: Path, weights: Path, tmp_path: Path
) -> None:
    asked = [f"query={photos}", f"weights={weights}"]
    with pytest.raises(ConfigError, match=r"not calibrated[\s\S]*scripts/tune.py"):
        found(photos, root, tmp_path / "a", *asked, "max_false=0.05")
    head = calibrated(weights, tmp_path / "head", 0.1)
    asked = [f"query={photos}", f"weights={head}"]
    with pytest.raises(ConfigError, match="not calibrated"):  # for another λ
        found(photos, root, tmp_path / "b", *asked, "max_false=0.05", "lamb=0.1", "temp=1")
    with pytest.raises(ConfigError, match="one of them"):
        found(photos, root, tmp_path / "c", *asked, "max_false=0.05", "threshold=0.5")
    with pytest.raises(BadInput, match="at least 0.010"):
        found(photos, root, tmp_path / "d", *asked, "max_false=0.001")
    with pytest.raises(ConfigError, match="a finite score"):
        found(photos, root, tmp_path / "f", *asked, "threshold=nan")
    everything = found(photos, root, tmp_path / "e", *asked, "threshold=5", "lamb=0.1", "temp=1")
    answers = json.loads((tmp_path / "e" / "answers.json").read_text())
    assert {a["in_gallery"] for a in answers.values()} == {False}
    assert len(answers) == len(everything.queries)
    assert {a["probability"] for a in answers.values()} == {None}


def test_a_damaged_calibration_names_the_head(
    photos: Path, root: Path, weights: Path, tmp_path: Path
) -> None:
    head, meta = load_head(weights)
    save_head(tmp_path / "head", head, replace(meta, calibration={"scores": [1, 0]}))
    with pytest.raises(BadInput, match=r"no calibration[\s\S]*head"):
        found(photos, root, tmp_path / "run", f"query={photos}", f"weights={tmp_path / 'head'}")


def test_a_certain_search_scores_fewer_candidates_and_keeps_the_rest_behind(
    photos: Path,
    root: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(image_search, "STEP", 3)
    head = calibrated(weights, tmp_path / "head", -1.0)
    asked = [f"query={photos}", f"weights={head}"]
    whole = found(photos, root, tmp_path / "whole", *asked)
    pairs = whole.hits.ids.size
    assert whole.hits.scored == pairs
    best = whole.hits.scores[:, 0]
    half = float(np.median(best))  # probabilities of this head are its scores
    some = found(photos, root, tmp_path / "some", *asked, f"certain={half}")
    assert 3 * len(some.queries) <= some.hits.scored < pairs
    assert f"{some.hits.scored / pairs:.1%} of pairs scored" in capsys.readouterr().out
    for q in range(len(some.queries)):
        assert sorted(some.hits.ids[q]) == sorted(whole.hits.ids[q])
        assert (np.diff(some.hits.scores[q]) <= 0).all()
    assert ((some.hits.scores[:, 0] >= half) == (best >= half)).all()
    never = found(photos, root, tmp_path / "never", *asked, f"certain={best.max() + 1e-3}")
    np.testing.assert_array_equal(never.hits.ids, whole.hits.ids)
    with pytest.raises(ConfigError, match="certain=0.5, but the scores are not calibrated"):
        found(photos, root, tmp_path / "no", f"query={photos}", f"weights={weights}", "certain=0.5")


def test_a_cascade_scores_what_passes_the_cheap_head_and_keeps_the_rest_behind(
    photos: Path, root: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cheap = save_head(tmp_path / "cheap", ELViS(dim_in=128), HeadMeta("sift")).parent
    asked = [f"query={photos}", "lamb=0", "temp=1"]
    whole = found(photos, root, tmp_path / "whole", *asked, f"weights={weights}")
    first = found(photos, root, tmp_path / "1", *asked, "model=elvis", f"weights={cheap}")
    logits = first.hits.logits
    head, meta = load_head(weights)
    digest = file_digest(cheap / "weights.safetensors")
    learnt = Cascade("elvis", digest, float(np.median(logits)), top=2)
    save_head(tmp_path / "head", head, replace(meta, cascade=learnt.as_json()))
    both = [f"weights={tmp_path / 'head'}", f"cascade={cheap}"]
    some = found(photos, root, tmp_path / "some", *asked, *both)
    passing = learnt.passes(logits)
    assert some.hits.scored == passing.sum() < whole.hits.scored
    wanted = np.where(passing, whole.hits.logits, NO_EVIDENCE)
    np.testing.assert_allclose(some.hits.logits, wanted, atol=1e-5)
    np.testing.assert_array_equal(np.sort(some.hits.ids), np.sort(whole.hits.ids))
    assert f"cascade behind elvis: {passing.mean():.1%} of pairs scored" in capsys.readouterr().out
    for other in (weights, tmp_path / "head"):
        with pytest.raises(ConfigError, match="learnt nothing of it"):
            config = [f"weights={other}", f"cascade={weights}"]
            found(photos, root, tmp_path / "no", *asked, *config)


@pytest.mark.slow
def test_a_database_is_filled_and_gives_the_order_of_the_index_folder(
    photos: Path, root: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lancedb")
    given = (f"query={photos}", f"weights={weights}", "num_rerank=5", "report_queries=0")
    alone = found(photos, root, tmp_path / "alone", *given).hits
    given = (*given, f"index=lancedb:{tmp_path / 'vectors'}#all")
    for number, said in enumerate(("14 written, 0 removed", "0 written, 0 removed")):
        hits = found(photos, root, tmp_path / str(number), *given).hits
        assert f"database: 14 vectors, {said}: lancedb:" in capsys.readouterr().out
        np.testing.assert_array_equal(hits.ids, alone.ids)
        np.testing.assert_allclose(hits.scores, alone.scores, atol=1e-4)
    given = (*given, "update=false", "filter=name < '07.jpg'")
    some = found(photos, root, tmp_path / "some", *given)
    assert all(set(some.names(q)) <= set(some.gallery[:7]) for q in range(14))


def test_a_database_that_does_not_answer_is_said_before_images_are_described(
    photos: Path, tmp_path: Path
) -> None:
    pytest.importorskip("qdrant_client")
    with pytest.raises(BadInput, match="cannot be reached"):
        search.run(config(photos, tmp_path, "index=qdrant:http://127.0.0.1:1#all"))
    assert not any(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="filter= is for databases"):
        search.run(config(photos, tmp_path, "filter=name < 'b'"))
