"""What a recipe may say, and what is told of one that says something else."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from bertcli.training.conversion import RecipeError
from bertcli.training.recipe import (
    KINDS,
    DataSource,
    FillSettings,
    LabelSettings,
    Recipe,
    Schedule,
    read_recipe,
)

MINIMAL: dict[str, Any] = {
    "schedule": {"steps": 3},
    "skills": [{"name": "mood", "kind": "label", "data": "mood.jsonl"}],
}


def write(folder: Path, tree: Any) -> Path:
    (folder / "mood.jsonl").write_text("{}\n")
    path = folder / "r.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return path


def changed(**skill: Any) -> dict[str, Any]:
    return MINIMAL | {"skills": [MINIMAL["skills"][0] | skill]}


def test_paths_are_taken_from_the_recipes_folder(tmp_path: Path) -> None:
    (skill,) = read_recipe(write(tmp_path, MINIMAL)).skills
    assert isinstance(skill, LabelSettings)
    assert skill.data[0].path == tmp_path / "mood.jsonl"


def test_one_value_stands_for_a_list_of_it(tmp_path: Path) -> None:
    written_out = changed(data=[{"path": "mood.jsonl", "limit": 5}], weight=[0.5, 0.5])
    short = changed(data={"path": "mood.jsonl", "limit": 5}, weight=0.5)
    assert read_recipe(write(tmp_path, short)) == read_recipe(write(tmp_path, written_out))


def test_a_number_with_an_exponent_is_a_number(tmp_path: Path) -> None:
    text = "schedule: {steps: 3, peak_rate: 4e-4}\nskills: [{name: f, kind: fill, data: mood.jsonl}]"
    recipe = read_recipe(write(tmp_path, text))
    assert recipe.schedule.peak_rate == 4e-4
    assert isinstance(recipe.skills[0], FillSettings)


def test_a_model_is_a_folder_beside_the_recipe_or_a_name(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    assert read_recipe(write(tmp_path, MINIMAL | {"model": "base"})).model == str(tmp_path / "base")
    assert read_recipe(write(tmp_path, MINIMAL | {"model": "owner/name"})).model == "owner/name"


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ("a: [", "is not YAML"),
        ("- a", "the recipe: a mapping is needed"),
        (MINIMAL | {"skils": []}, "skils: unknown key, did you mean skills?"),
        (MINIMAL | {"schedule": {"step": 3}}, "schedule.step: unknown key, did you mean steps?"),
        (MINIMAL | {"schedule": {}}, "schedule.steps: missing"),
        (MINIMAL | {"schedule": {"steps": "many"}}, "schedule.steps: 'many' is not a whole number"),
        (MINIMAL | {"schedule": {"steps": 0}}, "schedule.steps: 0 is less than 1"),
        (MINIMAL | {"skills": []}, "skills: there is none"),
        (MINIMAL | {"skills": MINIMAL["skills"] * 2}, "two skills are named 'mood'"),
        (changed(kind="lable"), "skills[0]: `kind` is needed, one of fill, embed, label, tag"),
        (changed(wieght=1), "skills[0].wieght: unknown key, did you mean weight?"),
        (changed(weight=[1, 2, 3]), "skills[0].weight: 2 values are needed, 3 are given"),
        (changed(weight=-1), "skills[0].weight: (-1.0, -1.0) is not a share of anything"),
        (changed(name="a.b"), "has a dot"),
        (changed(data="moood.jsonl"), "moood.jsonl does not exist"),
        (
            changed(data={"path": "mood.jsonl", "limt": 1}),
            "skills[0].data[0].limt: unknown key, did you mean",
        ),
        (changed(pooling="max"), "skills[0].pooling: 'max' is not one of cls, mean"),
        (changed(dense="yes"), "skills[0].dense: 'yes' is not true or false"),
        (changed(dev_fraction=1.5), "skills[0].dev_fraction: 1.5 is not a share"),
        (changed(max_length=True), "skills[0].max_length: True is not a whole number"),
        (
            MINIMAL | {"skills": [{"name": "e", "kind": "embed", "data": "mood.jsonl"}]},
            "skills[0]: a `teacher` with `data` is needed, or scored `pairs`",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tree: Any, told: str, tmp_path: Path) -> None:
    path = write(tmp_path, tree)
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


def test_a_recipe_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="No such file"):
        read_recipe(tmp_path / "none.yaml")


def test_every_key_is_on_the_page_about_training() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    keys = {field.name for kind in (Recipe, Schedule, DataSource, *KINDS.values()) for field in fields(kind)}
    assert {key for key in keys if not re.search(rf"\b{key}\b", page)} == set()


def test_the_recipe_on_the_page_about_training_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert block is not None
    for name in re.findall(r"[\w-]+\.(?:txt\.gz|parquet|csv|conll|jsonl)", block[1]):
        (tmp_path / name).touch()
    assert len(read_recipe(write(tmp_path, block[1])).skills) == 5
