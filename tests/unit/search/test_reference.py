"""The reference of the study file says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from search.constraints import Constraint
from search.definition import Budget, Definition, Keep, Objective, Resources, parse
from search.knobs import ObjectiveTrial
from search.sections import PrunerSpec, SamplerSpec, WarmStart
from trainer.config import TrainConfig
from trialyard.study_file import from_yaml

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "study-file.md"


def section(title: str) -> str:
    text = REFERENCE.read_text()
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def leaves(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """The fields of a model and of the models in it, by dotted path."""
    fields: dict[str, FieldInfo] = {}
    for name, field in ((field.alias or name, field) for name, field in model.model_fields.items()):
        inner = next((kind for kind in kinds(field.annotation) if isinstance(kind, type) and kind in SECTIONS), None)
        fields |= leaves(inner, f"{prefix}{name}.") if inner else {f"{prefix}{name}": field}
    return fields


def kinds(annotation: Any) -> tuple[Any, ...]:
    return (annotation, *getattr(annotation, "__args__", ()))


def sections(model: type[BaseModel]) -> set[type[BaseModel]]:
    found = {
        kind
        for field in model.model_fields.values()
        for kind in kinds(field.annotation)
        if isinstance(kind, type) and not hasattr(kind, "__origin__") and issubclass(kind, BaseModel)
    }
    return found | {inner for each in found for inner in sections(each)}


def rows_of(title: str, model: type[BaseModel]) -> dict[str, str]:
    """The defaults by key, of the rows for this model: some say for which names of a section they are."""
    tags = [str(kind.model_fields["name"].annotation.__args__[0]) for kind in NAMED]
    tag = next((tag for tag, kind in zip(tags, NAMED, strict=True) if kind is model), "")
    rows = {}
    for key, default, text in re.findall(ROW, section(title), re.MULTILINE):
        names = text.split(":")[0].strip().split(", ")
        if not set(names) <= set(tags) or tag in names:
            rows[key] = default
    return rows


ROW = r"^\| `([^`|]+)` \| [^|]* \| ([^|]*) \|([^|]*)\|"
NAMED = get_args(SamplerSpec) + get_args(PrunerSpec)
SECTIONS = sections(TrainConfig)


def test_the_example_is_a_study():
    example, *_ = re.findall(r"```yaml\n(.*?)```", REFERENCE.read_text(), re.DOTALL)

    assert parse(from_yaml(example)).name == "adult-mlp"


@pytest.mark.parametrize(
    ("title", "model"),
    [
        ("Sections", Definition),
        ("objective", Objective),
        ("constraints", Constraint),
        *(("sampler", model) for model in get_args(SamplerSpec)),
        *(("pruner", model) for model in get_args(PrunerSpec)),
        ("budget", Budget),
        ("warm_start", WarmStart),
        ("resources", Resources),
        ("keep", Keep),
        ("trial", TrainConfig),
    ],
)
def test_every_key_is_in_the_tables_with_its_default(title: str, model: type[BaseModel]) -> None:
    rows = rows_of(title, model)

    for path, field in leaves(model).items():
        if path == "kind":
            continue
        assert path in rows, f"{title}: {path}"
        default = rows[path].split(":")[0].strip("`")
        if isinstance(field.default, BaseModel) or field.default_factory or path in ("max_failed", "resources", "keep"):
            continue  # told in words
        if field.default is PydanticUndefined:
            assert "required" in rows[path]
        else:
            written = field.default if isinstance(field.default, str) else json.dumps(field.default)
            assert default == written, path


def test_keys_of_registered_objectives_are_told():
    for key in ObjectiveTrial.model_fields:
        assert f"`{key}" in section("trial")
