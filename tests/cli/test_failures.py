"""`scripts/failures.py`: a page from the results of any protocol, and what it refuses."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from ames_lite.cli import (
    build_vocabulary,
    evaluate,
    extract_descriptors,
    extract_globals,
    failures,
    prepare_dataset,
    prepare_topk_global,
)
from ames_lite.cli.compose import compose
from ames_lite.datasets.ground_truth import read_ground_truth
from ames_lite.datasets.image_lists import read_image_list
from ames_lite.errors import BadInput, ConfigError, MissingFile, UserError
from ames_lite.io.json_file import read_json_file, write_json_file
from tests.cli.test_prepare_set import whole_run
from tests.conftest import SIFT, TinyWorld
from tests.datasets.vpr.miniatures import MINIATURES, draw
from tests.helpers import in_process
from tests.pages import Page

CELLS = ["num_rerank=[5,20]", "lamb=0.0", "temp=1.0"]


def evaluated(world: TinyWorld, output: Path, *more: str) -> Path:
    given = ["dataset=synthetic", "desc_name=sift", "model=mutual_nn", "report_queries=0", *CELLS]
    where = [f"data_root={world.root}", f"output_dir={output}"]
    evaluate.run(compose("evaluate", [*given, *where, *more]))
    return output


@pytest.fixture(scope="module")
def ran(tiny_world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two rows, and the medium ranking of its first."""
    return evaluated(tiny_world, tmp_path_factory.mktemp("run") / "run", "exports=[json]")


def page_of(*words: str) -> Page:
    """The page that the command writes."""
    path = failures.run(compose("failures", list(words)))
    return Page(path.read_text("utf-8"))


def of_kind(page: Page, kind: str) -> list[dict[str, Any]]:
    return [view for view in page.views if view["marks"][-1] == kind]


def test_the_command_says_what_it_shows(
    ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # with the plots
    words = [f"results={ran}", f"output_dir={tmp_path / 'a'}"]
    done = in_process(tmp_path, "scripts/failures.py", *words)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "a" / "failures.html"
    assert str(path) in done.stdout
    assert "Worst:" in done.stdout and "of 6 queries" in done.stdout
    again = page_of(f"results={ran / 'results.json'}", f"output_dir={tmp_path / 'b'}")
    page = Page(path.read_text("utf-8"))
    assert again.source == page.source
    marks = [view["marks"][-1] for view in page.views]
    kinds = {word: marks.count(word) for word in failures.KINDS}
    assert sum(kinds.values()) == len(marks) == 6 and min(kinds.values()) > 0
    assert "The AP of a query is its medium AP" in page.text
    for mark, view in zip(marks, page.views, strict=True):
        assert (mark == "helped most") == (view["lists"][1][0]["tag"] != "wrong")


def test_the_page_shows_what_the_exported_ranking_has(ran: Path, tmp_path: Path) -> None:
    """Names and ranks from the file that other programs read, and names that tell what is right."""
    ranking = json.loads((ran / "retrieval_results_medium.json").read_text())
    page = page_of(f"results={ran}", "row=1", "num_rows=6", f"output_dir={tmp_path / 'a'}")
    won, lost = (of_kind(page, kind) for kind in failures.KINDS)
    names = [view["name"] for view in (*won, *lost)]
    assert len(names) == len(set(names))

    def right(query: str, name: str) -> bool:
        graded = name.endswith(("easy.jpg", "hard.jpg"))
        return graded and name.split("_")[0] == query.split("_")[0]

    ranks = []
    for view in (*won, *lost):
        query, (_, after, *more) = view["name"], view["lists"]
        junk = f"{query.split('_')[0]}_"
        listed = [n for n in ranking[query] if not (n.startswith(junk) and "junk" in n)]
        first = next(tile for tile in after if tile["rank"] == 1)
        assert first["name"] == listed[0]
        assert (first["tag"] != "wrong") == right(query, listed[0])
        best = next(rank for rank, name in enumerate(listed, 1) if right(query, name))
        assert bool(more) == (best > 1)
        for (tile,) in more:
            assert (tile["name"], tile["rank"]) == (listed[best - 1], best)
        ranks.append(best)
    assert ranks[: len(won)] == [1] * len(won)
    failed = ranks[len(won) :]
    assert failed == sorted(failed, reverse=True)
    assert 1 <= len(won) < 6  # this tiny world has both


def test_rows_and_settings_are_chosen(
    ran: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_json_file(ran / "results.json", "")["rows"]
    best = max(range(2), key=lambda i: (rows[i]["metrics"]["map"], -i))
    for row, shown in ((0, best), (1, 0), (2, 1)):
        page_of(f"results={ran}", f"row={row}", "num_rows=1", f"output_dir={tmp_path / str(row)}")
        said = capsys.readouterr().out
        assert f"row {shown + 1} of 2" in said and f"num_rerank {(5, 20)[shown]}," in said
        assert "medium" in said and "(given)" in said
        assert f"reranked {rows[shown]['metrics']['map']:.4f}" in said
    page_of(f"results={ran}", "setting=hard", "num_rows=1", f"output_dir={tmp_path / 'hard'}")
    assert "hard" in capsys.readouterr().out
    refused = {"row=3": "1 to 2", "row=-1": "1 to 2", "setting=all": "easy or medium or hard"}
    for word, expected in refused.items():
        with pytest.raises(UserError, match=expected):
            failures.run(compose("failures", [f"results={ran}", word]))


def test_scores_of_an_earlier_run_serve_too(
    ran: Path, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    second = evaluated(tiny_world, tmp_path / "second", f"scores={ran}")
    assert not (second / "scores.hdf5").exists()
    page_of(f"results={second}", f"output_dir={tmp_path / 'a'}")
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.copy(ran / "results.json", moved)
    with pytest.raises(MissingFile, match=r"scores of the run(.|\n)*moved(.|\n)*scores="):
        page_of(f"results={moved}")
    page_of(f"results={moved}", f"scores={ran}", f"output_dir={tmp_path / 'b'}")


def test_a_run_whose_data_moved_is_shown_with_data_root(
    ran: Path, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(ran, run)
    results = read_json_file(run / "results.json", "")
    results["config"]["data_root"] = str(tmp_path / "gone")
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(MissingFile, match="images"):
        page_of(f"results={run}")
    page_of(f"results={run}", f"data_root={tiny_world.root}", f"output_dir={tmp_path / 'a'}")


def copied(tiny_world: TinyWorld, root: Path) -> Path:
    """The test set without what only the evaluation reads."""
    folder = root / "synthetic"
    folder.mkdir(parents=True)
    for name in ("query.txt", "gallery.txt", "gnd_synthetic.json", "nn_sift_vlad.hdf5"):
        shutil.copy(tiny_world.folder() / name, folder)
    shutil.copytree(tiny_world.folder() / "jpg", folder / "jpg")
    return folder


def test_missing_and_broken_images_are_counted(
    ran: Path, tiny_world: TinyWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copied(tiny_world, tmp_path)
    words = [f"results={ran}", f"data_root={tmp_path}"]
    whole = page_of(*words, f"output_dir={tmp_path / 'a'}")
    asked, other = whole.views[0]["name"], whole.views[0]["lists"][0][0]["name"]
    (folder / asked).unlink()
    (folder / other).write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        page = page_of(*words, f"output_dir={tmp_path / 'b'}")
    assert "image not found: 1; image not readable: 1" in page.text
    assert f"2 of {len(page.pictures)} images are not shown" in caplog.text
    assert f"{asked}: image not found" in caplog.text
    assert f"{other}: image not readable" in caplog.text


def test_without_any_image_the_remedy_is_images(
    ran: Path, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    folder = copied(tiny_world, tmp_path)
    for path in (folder / "jpg").iterdir():
        path.unlink()
    words = [f"results={ran}", f"data_root={tmp_path}"]
    with pytest.raises(MissingFile, match=r"none of the \d+ images(.|\n)*images="):
        page_of(*words, f"output_dir={tmp_path / 'none'}")
    with pytest.raises(MissingFile, match="images="):
        page_of(*words, f"images={tmp_path / 'nowhere'}")
    page_of(*words, f"images={tiny_world.folder()}", f"output_dir={tmp_path / 'a'}")


def test_files_that_changed_since_the_run_are_told(
    ran: Path, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    folder = copied(tiny_world, tmp_path)
    words = [f"results={ran}", f"data_root={tmp_path}"]
    truth = json.loads((folder / "gnd_synthetic.json").read_text())
    first = truth["queries"][0]
    changed = {**first, "easy": first["easy"][1:], "junk": [*first["junk"], first["easy"][0]]}
    truth["queries"][0] = changed
    (folder / "gnd_synthetic.json").write_text(json.dumps(truth))
    with pytest.raises(BadInput, match="another gnd_synthetic.json: its digest"):
        page_of(*words)
    results = read_json_file(ran / "results.json", "")
    del results["read"]  # as of older versions
    (tmp_path / "older").mkdir()
    write_json_file(tmp_path / "older" / "results.json", results)
    with pytest.raises(BadInput, match=r"of global is (.|\n)*results.json"):
        page_of(f"results={tmp_path / 'older'}", f"scores={ran}", *words[1:])
    listed = (folder / "gallery.txt").read_text().splitlines()
    (folder / "gallery.txt").write_text("\n".join([*listed[1:], listed[0]]) + "\n")
    with pytest.raises(BadInput, match="another gallery.txt: its digest"):
        page_of(*words)
    (folder / "query.txt").unlink()
    (folder / "nn_sift_vlad.hdf5").unlink()
    with pytest.raises(MissingFile, match=r"query image list(.|\n)*neighbour lists"):
        page_of(*words)


def test_scores_of_something_else_are_refused(
    ran: Path, tiny_world: TinyWorld, tmp_path: Path
) -> None:
    other = evaluated(tiny_world, tmp_path / "other", "query_desc_num=20")
    with pytest.raises(BadInput, match="another settings"):
        page_of(f"results={ran}", f"scores={other}")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("row=1", "results= is not given"),
        ("num_rows=0", "from 1 to 50"),
        ("num_rows=51", "from 1 to 50"),
        ("results=nowhere", "no results here"),
    ],
)
def test_settings_that_cannot_be_are_refused(word: str, expected: str, ran: Path) -> None:
    given = [] if expected.startswith("results=") or "nowhere" in word else [f"results={ran}"]
    with pytest.raises((ConfigError, MissingFile), match=expected):
        failures.run(compose("failures", [*given, word]))


def test_results_without_their_configuration_are_refused(ran: Path, tmp_path: Path) -> None:
    results = read_json_file(ran / "results.json", "")
    for config, what in (({}, "dataset, desc_name, neighbors"), (None, "of a wrong type: config")):
        path = tmp_path / "results.json"
        path.write_text(json.dumps({**results, "config": config}))
        with pytest.raises(BadInput, match=what):
            page_of(f"results={path}")
    results["config"]["dataset"] = {"option": "synthetic"}
    path.write_text(json.dumps(results))
    with pytest.raises(BadInput, match="parts of dataset"):
        page_of(f"results={path}")


# ---------------------------------------------------------------- every protocol


OTHERS = ("product1m", "sop", "rp2k", "met", "amstertime swap=true")  # of protocols seen already
PLACES = ("pitts30k", "amstertime swap=true")


@pytest.mark.parametrize(
    "name",
    ["instre", "ilias", "pitts30k", *(pytest.param(one, marks=pytest.mark.slow) for one in OTHERS)],
)
def test_a_public_set_goes_from_its_layout_to_a_page_of_failures(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """λ is 1 in these runs: before and after are one ranking, and looks[q] stands first."""
    results = whole_run(name, tmp_path)
    main = {"ilias": "map@1000"}.get(name, "recall@1" if name in PLACES else "map@100")
    assert 0 <= results["global"][main] == results["rows"][0]["metrics"][main] <= 1
    page = page_of(f"results={tmp_path / 'run'}", f"output_dir={tmp_path / 'page'}")
    small = MINIATURES[name.split()[0]]
    for view in of_kind(page, "helped most"):
        before, after = (
            next(tile for tile in tiles if tile["rank"] == 1) for tiles in view["lists"]
        )
        assert before["name"] == after["name"] and after["tag"] == "right"
        assert (after["rank"], after["before"]) == (1, 1)
    asked = small.queries if "swap" not in name else small.gallery
    assert {view["name"] for view in page.views} <= set(asked)
    without = sum(not right for right in small.positives)
    said = capsys.readouterr().out
    assert f"{main}: global" in said and f"of {len(asked) - without} queries" in said
    assert ("have no correct image" in said) == bool(without)


def extracted(root: Path, dataset: list[str], evaluation: list[str]) -> Path:
    """SIFT, VLAD of its own gallery, lists, and an evaluation; the run directory."""
    given = [*dataset, "desc_name=sift", f"data_root={root}"]
    extract_descriptors.run(compose("extract_descriptors", [*given, *SIFT]))
    build_vocabulary.run(compose("build_vocabulary", [*given, "split=gallery", "num_clusters=4"]))
    extract_globals.run(compose("extract_globals", given))
    prepare_topk_global.run(compose("prepare_topk_global", [*given, "global=vlad"]))
    options = ["model=mutual_nn", "neighbors=vlad", "lamb=0.5", "temp=1.0", "num_rerank=5"]
    options += ["report_queries=0", f"output_dir={root / 'run'}", *evaluation]
    evaluate.run(compose("evaluate", [*given, *options]))
    return root / "run"


def test_a_folder_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures, root = tmp_path / "pictures", tmp_path / "data"
    for i in range(8):
        draw(pictures / "ab"[i // 4] / f"{i}.png", i // 2, side=96)
    own = [f"images={pictures}", "labels=folders", "name=mine", f"data_root={root}"]
    prepare_dataset.run(compose("prepare_dataset", own))
    run = extracted(root, ["dataset=folder", "name=mine"], [])
    (pictures / "labels.csv").write_text("a page asks for no labels, and compares none\n")
    page_of(f"results={run}", f"output_dir={tmp_path / 'a'}")
    assert "of 8 queries" in capsys.readouterr().out


def test_gldv2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "gldv2-test"
    names = {
        "query": ["q/0.png", "q/1.png", "q/2.png"],
        "gallery": [f"g/{i}.png" for i in range(6)],
    }
    for side, listed in names.items():
        for i, name in enumerate(listed):
            draw(folder / name, i, side=96)
        (folder / f"{side}.txt").write_text("".join(f"{name}\n" for name in listed))
    queries = [{"name": "q/0.png", "positives": ["g/0.png", "g/5.png"]}]
    queries += [{"name": "q/1.png", "positives": ["g/4.png"]}, {"name": "q/2.png", "positives": []}]
    (folder / "gnd_gldv2-test.json").write_text(json.dumps({"queries": queries}))
    lists = [read_image_list(folder / f"{side}.txt").names for side in names]
    assert len(read_ground_truth(folder / "gnd_gldv2-test.json", *lists).easy) == 3
    run = extracted(tmp_path, ["dataset=gldv2-test"], ["dataset.private_queries=1"])
    page_of(f"results={run}", f"output_dir={tmp_path / 'a'}")
    said = capsys.readouterr().out
    assert "map@100: global" in said and "of 2 queries (1 have no correct image)" in said
