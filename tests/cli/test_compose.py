"""Every configuration composes and fits; what does not exist is refused with what does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from ames_lite.cli.compose import as_dict, compose, experiments_of, options_of
from ames_lite.cli.schema import SCHEMAS, help_of
from ames_lite.cli.schema.keys import NODES
from ames_lite.cli.train import recipe_of
from ames_lite.errors import ConfigError
from ames_lite.evaluation.results_file import NO_MODEL
from ames_lite.extraction.backbones import BACKBONES, build_backbone
from ames_lite.io.shipped import conf_dir, shipped
from ames_lite.models import HEADS, build_head
from ames_lite.reranking.verification import VERIFIERS
from ames_lite.training.recipe import Recipe

COMMANDS = sorted(path.stem for path in conf_dir().glob("*.yaml"))
PLAIN = {"seed", "epochs", "lr", "weight_decay"}  # keys that need no words


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_composes_by_itself(name: str) -> None:
    assert compose(name)


@pytest.mark.parametrize(
    "name, words",
    [
        ("evaluate", ["dataset=roxford", "model=ransac", "lamb=[0.1,1]", "dataset.neighbors=vlad"]),
        ("evaluate", ["num_rerank=5", "temp=null", "dataset.neighbors=cls", "neighbors=mine"]),
        ("extract_descriptors", ["dataset=folder", "desc_name=sift", "backbone=sift", "name=mine"]),
        ("train", ["experiment=sift_synthetic", "lr=1e-4", "model.arguments.dim=64", "epochs=2"]),
        ("train", ["model=ames", "epochs=1", "epochs=3"]),
    ],
)
def test_a_configuration_is_what_hydra_composes(name: str, words: list[str]) -> None:
    """Values are set into groups that were composed before; Hydra composes all of it anew."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        expected = OmegaConf.to_container(hydra_compose(name, words), resolve=True)
    plain = compose(name)
    assert isinstance(expected, dict) and of_groups(expected) != of_groups(as_dict(plain))
    assert of_groups(as_dict(compose(name, words))) == of_groups(expected)
    assert compose(name) == plain


def of_groups(config: dict[str, Any]) -> dict[str, Any]:
    """The values, without what the files of the groups leave at its default."""
    blank = {name: as_dict(kind()) for name, kind in NODES.items()}
    return {
        key: {name: one for name, one in value.items() if blank[key].get(name) != one}
        if key in blank
        else value
        for key, value in config.items()
    }


def test_every_backbone_has_one_file_and_is_built_from_it() -> None:
    assert options_of("backbone") == sorted(BACKBONES)
    for name in BACKBONES:
        given = compose("extract_descriptors", [f"backbone={name}"]).backbone
        assert given.name == name and build_backbone(name, **given.arguments).dim > 0


def test_every_model_has_one_file_and_is_built_from_it() -> None:
    assert options_of("model") == sorted([*HEADS, *VERIFIERS, NO_MODEL])
    for name in HEADS:
        arguments = compose("train", [f"model={name}"]).model.arguments
        assert build_head(name, **arguments, dim_in=16)
    for name in VERIFIERS:
        arguments = compose("evaluate", [f"model={name}"]).model.arguments
        assert asdict(VERIFIERS[name](**arguments)) == arguments


def test_every_experiment_makes_a_recipe() -> None:
    for name in experiments_of("train"):
        config = compose("train", [f"experiment={name}"])
        assert recipe_of(config)


def test_the_defaults_of_training_are_the_published_recipe() -> None:
    config = compose("train")
    assert recipe_of(config) == Recipe()
    assert (config.desc_name, config.model.name, config.start) == (
        "dinov2",
        "ames",
        "published",
    )


def test_desc_name_chooses_the_backbone_of_extraction() -> None:
    assert compose("extract_descriptors", ["desc_name=sift"]).backbone.name == "sift"
    assert compose("extract_descriptors", ["desc_name=mine", "backbone=sift"]).desc_name == "mine"
    assert compose("extract_descriptors", ["backbone=sift"]).desc_name == "sift"
    plain = compose("extract_descriptors", [])
    assert (plain.desc_name, plain.backbone.name) == ("dinov2", "dinov2")
    with pytest.raises(ConfigError, match="sift"):
        compose("extract_descriptors", ["desc_name=mine"])


@pytest.mark.parametrize(
    "override, message",
    [
        ("nokey=1", "no key 'nokey'"),
        ("+lr=1", "neither added nor removed"),
        ("++lr=1", "neither added nor removed"),
        ("~lr", "neither added nor removed"),
        ("dataset=oxford5k", "roxford"),
        ("model=rrt", "mutual_nn"),
        ("experiment=best", "sift_synthetic"),
        ("lr=fast", "a number"),
        ("epochs=1.5", "a whole number"),
        ("seed=true", "a whole number"),
        ("desc_name=null", "a text"),
        ("model=asme", "did you mean ames"),
        ("modle=ames", "did you mean model"),
        ("lists=x", "no key 'lists'"),
        ("--multirun", "no options with dashes"),
        ("--lr=1", "lr=1"),
        ("images = x", "no blanks around"),
        ("images=", "is empty"),
        ("lr=0,1", "decimals with a point"),
        ("model.arguments.dimm=64", "did you mean model.arguments.dim"),
        ("epochs=1,2", "a list"),
        ("just words", "key=value"),
        ("dataset=[roxford]", "roxford"),
        ("batch_unit=pairs", "images or triplets"),
        ("resume=always", "auto or never"),
        ("precision=fp8", "one of fp32, bf16, fp16, auto"),
    ],
)
def test_what_does_not_exist_or_fit_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        compose("train", [override])


def test_every_command_explains_itself_and_its_yaml_only_chooses() -> None:
    for name in COMMANDS:
        content = yaml.safe_load((conf_dir() / f"{name}.yaml").read_text())
        assert list(content) == ["defaults"] and content["defaults"][0] == f"schema/{name}"
        what = str(SCHEMAS[name].__doc__)
        assert what and not what.startswith(f"{SCHEMAS[name].__name__}(")
        for key, _, meaning in help_of(name):
            assert meaning or key.rpartition(".")[2] in PLAIN, f"{name}: {key}"


def test_a_shipped_head_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command, key in (("evaluate", "weights"), ("search", "weights"), ("train", "teacher")):
        assert getattr(compose(command, [f"{key}=sift_ames"]), key) == shipped("sift_ames")
    assert compose("evaluate", ["weights=no_such_head"]).weights == Path("no_such_head")
    assert compose("evaluate", ["weights=./sift_ames"]).weights == Path("sift_ames")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sift_ames").mkdir()  # a path that exists is that path
    assert compose("evaluate", ["weights=sift_ames"]).weights == Path("sift_ames")


def test_a_key_takes_what_its_last_part_takes_only_of_rerankers_and_backbones() -> None:
    assert compose("frontier", ["weights=runs/a"]).weights == Path("runs/a")
    sizes = compose("benchmark", ["rerank.grow.queries=[5,10]"]).rerank.grow.queries
    assert sizes == [5, 10]
    assert compose("place_recognition", ["ransac.lamb=null"]).ransac.lamb is None
    with pytest.raises(ConfigError, match="expected: a number"):
        compose("prepare_topk_global", ["kreciprocal.lamb=[0.1]"])
