"""Writes docs/configuration.md: every key that a person can set, read from the pydantic models.

    .venv/bin/python scripts/configuration_page.py            # writes the page
    .venv/bin/python scripts/configuration_page.py --check    # exit status 1 if the page is not up to date

A key's meaning is the description of its field; where a field has none, its entry under `Args:` in the docstring of the
model. The docstring itself stands above the table. No text of the page is written by hand: correct the model instead.
"""

import argparse
import ast
import inspect
import json
import re
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cellassets.benchmarks.registry import BENCHMARKS
from cellassets.clustering.parameters import ClusterParameters
from cellassets.encoders.container.declaration import ContainerDeclaration
from cellassets.encoders.container.settings import ContainerSettings
from cellassets.encoders.elsewhere.declaration import (
    ExportedDeclaration,
    HuggingFaceDeclaration,
    NetworkDeclaration,
    OnnxDeclaration,
)
from cellassets.hits.parameters import HitParameters
from cellassets.judging.gate import GatePolicy
from cellassets.mapping.build import MapParameters
from cellassets.mapping.dataset import Dataset
from cellassets.profiles.declaration import ProfilesDeclaration
from cellassets.screens.layouts.choose import ExperimentFile
from cellassets.screens.layouts.definition import Layout
from cellassets.stages.costs import Prices
from cellassets.stages.settings import Policy
from cellassets.synthetic.design import ScreenDesign
from cellassets.training.recipe import (
    BayesianSearch,
    ClassicalRecipe,
    GridSearch,
    ListSearch,
    NetworkRecipe,
    RandomSearch,
)

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "configuration.md"
ENVIRONMENT = REPOSITORY / "cellassets" / "storage" / "deployment.py"
SCALARS = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "see the meaning",
    dict[str, str]: "mapping of text to text",
    dict[str, Any]: "mapping",
}
PLURALS = {"text": "texts", "integer": "integers", "number": "numbers"}
BOUNDS = {"ge": "≥ ", "gt": "> ", "le": "≤ ", "lt": "< "}
INTRODUCTION = """# Configuration

<!-- Written by scripts/configuration_page.py from the models; do not edit. -->

Every key that you can set, with its type, default and range. A key that you leave out has its default. A key that is
not on this page is refused, and the message names the file and the key. The folder [configs](../configs/README.md)
holds files to start from. The sensors and the command line read the folder that `CELLASSETS_CONFIGS` names.
"""


@dataclass(frozen=True)
class File:
    """One kind of file: where it stands, what it is for, and its model."""

    title: str
    purpose: str
    model: type[BaseModel]


FILES = (
    File("policy.yaml", "What happens automatically: ingest rules, landing zone, active models and datasets.", Policy),
    File("mapping.yaml", "How site embeddings become a map.", MapParameters),
    File("clusters.yaml", "How a map is clustered, and which sets its clusters are tested for.", ClusterParameters),
    File("hits.yaml", "When a perturbation is called active; without the file the defaults apply.", HitParameters),
    File("gate.yaml", "What a model must show before it goes into production.", GatePolicy),
    File("recipes/&lt;name&gt;.yaml with kind: network", "A network to train.", NetworkRecipe),
    File("recipes/&lt;name&gt;.yaml with kind: classical", "A classical encoder, without training.", ClassicalRecipe),
    File("The section search of a recipe with method: list", "Variants that you name.", ListSearch),
    File("The same with method: grid", "Every combination of the values.", GridSearch),
    File("The same with method: random", "Values drawn at random.", RandomSearch),
    File("The same with method: bayesian", "Values proposed from the results so far.", BayesianSearch),
    File("prices.yaml", "What the machines cost, for the cost of each partition ([costs.md](costs.md)).", Prices),
    File("containers.yaml", "Whether and where the programs of container encoders are started.", ContainerSettings),
    File(
        "The file of `cellassets model register`",
        "A program in any language that turns sites into vectors ([container_encoders.md](container_encoders.md)).",
        ContainerDeclaration,
    ),
    File(
        "The same with kind: network",
        "Weights in safetensors and a backbone ([models-from-elsewhere.md](models-from-elsewhere.md)).",
        NetworkDeclaration,
    ),
    File(
        "The same with kind: exported",
        "A program of `torch.export` ([models-from-elsewhere.md](models-from-elsewhere.md)).",
        ExportedDeclaration,
    ),
    File(
        "The same with kind: onnx",
        "An ONNX graph ([models-from-elsewhere.md](models-from-elsewhere.md)).",
        OnnxDeclaration,
    ),
    File(
        "The same with kind: huggingface",
        "A folder of Hugging Face ([models-from-elsewhere.md](models-from-elsewhere.md)).",
        HuggingFaceDeclaration,
    ),
    File(
        "The same with kind: profiles",
        "A table of embeddings or profiles made elsewhere ([profiles.md](profiles.md)).",
        ProfilesDeclaration,
    ),
    File(
        "experiment.yaml in the landing zone",
        "The layout of an experiment, and what is different from it ([your-own-screen.md](your-own-screen.md)).",
        ExperimentFile,
    ),
    File("A layout", "What `experiment.yaml` can declare, and the keys of the shipped layouts.", Layout),
    File("datasets/&lt;name&gt;.yaml", "A curated dataset. The name of the file is its `dataset_id`.", Dataset),
)
DESIGN = File(
    "Design of a simulated screen",
    "The file that `cellassets screen simulate --design` and `scripts/demo.py --design` read.",
    ScreenDesign,
)


def page() -> str:
    """Returns the whole page."""
    shown: set[type[BaseModel]] = set()
    lines = [INTRODUCTION, *_contents()]
    for file in FILES:
        lines += [f"## {file.title}\n", f"{file.purpose}\n", *_sections(file.model, shown, has_summary=False)]
    lines += [
        "## benchmarks/&lt;name&gt;.yaml\n",
        "The settings of one benchmark. Without a file, its defaults apply.\n",
    ]
    for name, described in sorted(BENCHMARKS.items()):
        if described.parameters.__module__.startswith("cellassets."):  # not those of installed plug-ins
            lines += [
                f"### {name}\n",
                f"{_cell(described.description)}\n",
                *_table(described.parameters, has_summary=False),
            ]
    lines += [f"## {DESIGN.title}\n", f"{DESIGN.purpose}\n", *_sections(DESIGN.model, shown, has_summary=False)]
    lines += ["## Environment variables\n", *_environment()]
    return "\n".join(lines).rstrip() + "\n"


def _contents() -> list[str]:
    titles = [*(file.title for file in FILES), "benchmarks/&lt;name&gt;.yaml", DESIGN.title, "Environment variables"]
    return [*(f"- [{title}](#{_anchor(title)})" for title in titles), ""]


def _anchor(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = title.replace("&lt;", "<").replace("&gt;", ">").lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def _sections(model: type[BaseModel], shown: set[type[BaseModel]], *, has_summary: bool = True) -> Iterator[str]:
    """Yields the model's text and table, then the same for every model in it that was not shown before."""
    shown.add(model)
    yield from _table(model, has_summary=has_summary)
    for field in model.model_fields.values():
        for inner in _models_in(field.annotation):
            if inner not in shown:
                yield f"### {_heading(inner)}\n"
                yield from _sections(inner, shown)


def _heading(model: type[BaseModel]) -> str:
    """A model's name; `kind: pca` or the like where a file chooses it by a key with one possible value."""
    for key, field in model.model_fields.items():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1 and key != "format_version":
            return f"{key}: {field.default}"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", model.__name__).capitalize()


def _table(model: type[BaseModel], *, has_summary: bool = True) -> Iterator[str]:
    """Yields the docstring, without its first paragraph where something else introduces the model, and the table."""
    text, arguments = _docstring(model)
    if shown := text if has_summary else text.partition("\n\n")[2]:
        yield f"{shown}\n"
    fields = {key: field for key, field in model.model_fields.items() if not _is_given_elsewhere(model, key)}
    if not fields:
        yield "It has no settings.\n"
        return
    yield "| key | type | default | range | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for key, field in fields.items():
        meaning = (_description(model, key) or arguments.get(key, "")).rstrip(".")
        meaning = meaning[:1].upper() + meaning[1:]
        default = "required" if field.is_required() else _default(field)
        yield f"| `{key}` | {_type(field.annotation)} | {default} | {_range(field)} | {_cell(meaning)} |"
    yield ""


def _description(model: type[BaseModel], key: str) -> str | None:
    """Returns the description of a field, or that of the field which it overrides in a base class."""
    bases = (base for base in model.__mro__ if issubclass(base, BaseModel) and key in base.model_fields)
    return next((text for base in bases if (text := base.model_fields[key].description)), None)


def _is_given_elsewhere(model: type[BaseModel], key: str) -> bool:
    """True for a name that the file gives, and for a kind that has one value."""
    annotation = model.model_fields[key].annotation
    is_constant = get_origin(annotation) is Literal and len(get_args(annotation)) == 1
    return is_constant or (model in {file.model for file in FILES} and key in {"name", "dataset_id"})


def _docstring(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """Returns the paragraphs of a model's docstring before `Args:`, and the entries under `Args:` by key."""
    text = inspect.cleandoc(model.__doc__ or "")
    above, _, below = text.partition("\nArgs:\n")
    entries = re.findall(r"^    (\w[\w, ]*): (.*(?:\n        .*)*)", below, re.MULTILINE)
    arguments = {name.strip(): meaning for names, meaning in entries for name in names.split(",")}
    return re.sub(r"(?<!\n)\n(?!\n)", " ", above.strip()), arguments


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _type(annotation: Any) -> str:
    """Returns a type as a person would say it; models as links to their section."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = ", ".join(_bounds(inner[1:]))
        return f"{_type(inner[0])} ({bounds})" if bounds else _type(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(one) for one in inner)
    if origin is tuple:
        return _tuple(inner)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        heading = _heading(annotation)
        return f"[{heading}](#{_anchor(heading)})"
    default = "mapping" if origin is dict else getattr(annotation, "__name__", str(annotation))
    return SCALARS.get(annotation, default)


def _tuple(inner: tuple[Any, ...]) -> str:
    if inner[-1] is Ellipsis:
        text = _type(inner[0])
        return "list of " + re.sub(r"^\w+", lambda found: PLURALS.get(found[0], found[0]), text)
    return f"list of {len(inner)}: " + ", ".join(_type(one) for one in inner)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        changed = value.model_dump(mode="json", exclude_defaults=True)
        return f"`{json.dumps(changed)}`" if changed else "its defaults"
    if isinstance(value, tuple) and value and all(isinstance(one, BaseModel) for one in value):
        heads = [_heading(type(one)) for one in value]
        shown = heads if len(set(heads)) == len(heads) else [json.dumps(one.model_dump(mode="json")) for one in value]
        return ", ".join(f"`{one}`" for one in shown).replace('"', "")
    if isinstance(value, tuple) and len(value) > 8 and len(set(value)) == 1:
        return f"{len(value)} times `{value[0]}`"
    return f"`{json.dumps(value, ensure_ascii=False)}`".replace('"', "").replace("|", "\\|")


def _range(field: FieldInfo) -> str:
    return ", ".join(_bounds(field.metadata))


def _bounds(metadata: Any) -> Iterator[str]:
    for found in metadata:
        for item in [found, *getattr(found, "metadata", ())]:
            yield from (f"{sign}{getattr(item, name):g}" for name, sign in BOUNDS.items() if hasattr(item, name))
            if getattr(item, "min_length", None):
                yield f"at least {item.min_length}"


def _cell(text: str) -> str:
    """Returns a text that fits into one cell of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def _environment() -> list[str]:
    """Returns the table of variables in the docstring of `cellassets.storage.deployment`."""
    text = ast.get_docstring(ast.parse(ENVIRONMENT.read_text())) or ""
    return [line for line in text.splitlines() if line.startswith("|")]


def main() -> None:
    """Writes the page, or checks that it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the page is out of date")
    chosen = parser.parse_args()
    text = page()
    if not chosen.check:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        sys.exit(
            f"{PAGE.relative_to(REPOSITORY)} is out of date: run scripts/configuration_page.py and commit the page"
        )


if __name__ == "__main__":
    main()
