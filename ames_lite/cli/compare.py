"""`python scripts/compare.py`: many results.json in, one table a data set out."""

from collections.abc import Sequence
from pathlib import Path

from ames_lite.cli.schema.evaluation import Compare
from ames_lite.cli.shell import as_list
from ames_lite.errors import BadInput, check_config
from ames_lite.evaluation.comparison import GLOBAL, Block, Entry, compare
from ames_lite.evaluation.comparison_table import render
from ames_lite.evaluation.results_file import read_results, results_path

EXPECTED = "results=[<results.json or run directory>, …]; [a,b,c] within the list: seeds of one"


def run(config: Compare) -> list[Block]:
    """Compare as configured, print the tables and return what they hold."""
    check_config(all(config.results), "results= has the entry []", EXPECTED)
    groups = [[results_path(path) for path in as_list(entry)] for entry in config.results]
    names, baseline = _names(config.names, groups), config.baseline or GLOBAL
    if baseline not in (GLOBAL, *names):
        groups, names, baseline = _with_baseline(groups, names, results_path(baseline))
    entries = [
        Entry(name, tuple(map(str, paths)), tuple(map(read_results, paths)), mixed=config.mixed)
        for name, paths in zip(names, groups, strict=True)
    ]
    blocks = compare(entries, baseline=baseline, metric=config.metric, seed=config.seed)
    columns = None if config.columns is None else as_list(config.columns)
    print(render(blocks, config.form, columns), end="")
    return blocks


def _with_baseline(
    groups: list[list[Path]], names: list[str], path: Path
) -> tuple[list[list[Path]], list[str], str]:
    """Entries, their names and the baseline's: the entry that has the file, else one of its own."""
    for name, paths in zip(names, groups, strict=True):
        if path.absolute() in [one.absolute() for one in paths]:
            return groups, names, name
    name = path.absolute().parent.name
    name = name if name not in names else str(path.absolute().parent)
    return [[path], *groups], [name, *names], name


def _names(given: list[str] | None, groups: Sequence[Sequence[Path]]) -> list[str]:
    """A name an entry: given, or as much of the end of its folder as tells it from the others."""
    files = [path.absolute() for paths in groups for path in paths]
    if not files or len(set(files)) != len(files):
        twice = next((str(path) for path in files if files.count(path) > 1), None)
        what = f"results= lists {twice} twice" if twice else "results= is not given"
        raise BadInput(what, expected=EXPECTED)
    if given is not None:
        what = f"{len(given)} names for {len(groups)} entries"
        check_config(len(given) == len(groups), what, "names=[…], one an entry of results=")
        return given
    folders = [paths[0].absolute().parent.parts for paths in groups]
    depth = 1
    while len({folder[-depth:] for folder in folders}) < len(folders) and depth < 20:
        depth += 1
    more = [f" (+{len(paths) - 1} runs)" if len(paths) > 1 else "" for paths in groups]
    return ["/".join(f[-depth:]) + text for f, text in zip(folders, more, strict=True)]
