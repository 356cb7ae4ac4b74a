"""Chooses the layout of an experiment: named or declared in `experiment.yaml`, or else the one that recognises it.

`experiment.yaml` is in the experiment's folder, or beside the folders for all experiments without one of their own.
"""

import functools
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from upath import UPath

from cellassets.configuration import Parameters, load_yaml, validate
from cellassets.errors import ConfigError, LayoutError
from cellassets.screens.landed import ScreenLayout
from cellassets.screens.landing import EXPERIMENT_FILE
from cellassets.screens.landing_files import list_entries
from cellassets.screens.layouts.declared import DeclaredLayout
from cellassets.screens.layouts.definition import Exclusion, Layout, TermName

AS_IN_LAYOUT = "as in a layout, which it replaces"
MAX_NAMED = 8
ENTRY_POINTS = "cellassets.layouts"
HOW = f"name one with `layout:` in {EXPERIMENT_FILE}, or run `cellassets screen init` on the folder"


class MetadataOverride(Parameters):
    """Changes of a layout's metadata: tables are replaced, and terms are replaced one by one."""

    tables: Any = Field(default=None, description="all tables, as in a layout")
    terms: Mapping[TermName, Any] = Field(default_factory=dict, description="terms, as in a layout")


def _as_text(given: Any) -> Any:
    return {key: str(value) for key, value in given.items()} if isinstance(given, dict) else given


class ExperimentFile(Parameters):
    """`experiment.yaml`: which layout an experiment has, and what is different from it.

    Every key but `layout` and `constants` replaces the key of the layout. Without `layout` and `images`, it changes the
    layout that recognises the folder.
    """

    layout: str | None = Field(default=None, description="name of a layout; `cellassets screen layouts` lists them")
    constants: Annotated[Mapping[TermName, str], BeforeValidator(_as_text)] = Field(
        default_factory=dict, description="terms with one value for all wells, such as cell_type"
    )
    images: Any = Field(default=None, description=AS_IN_LAYOUT)
    channels: Any = Field(default=None, description=AS_IN_LAYOUT)
    ignored_channels: Any = Field(default=None, description=AS_IN_LAYOUT)
    ignored_files: Any = Field(default=None, description=AS_IN_LAYOUT)
    metadata: MetadataOverride | None = Field(default=None, description="changes of tables and terms")
    pixel_size_um: float | None = Field(default=None, description=AS_IN_LAYOUT)
    top_grey_level: int | None = Field(default=None, description=AS_IN_LAYOUT)
    z_projection: str | None = Field(default=None, description=AS_IN_LAYOUT)
    illumination_path: str | None = Field(default=None, description=AS_IN_LAYOUT)
    correct_illumination: bool | None = Field(default=None, description=AS_IN_LAYOUT)
    exclude: Exclusion | None = Field(default=None, description=AS_IN_LAYOUT)


@functools.cache
def shipped_layouts() -> Mapping[str, DeclaredLayout]:
    """Returns the layouts that come with the package, by name."""
    folder = files("cellassets.screens.layouts") / "shipped"
    paths = sorted((UPath(str(path)) for path in folder.iterdir() if path.name.endswith(".yaml")), key=str)
    layouts = [load_yaml(path, Layout, name=path.stem) for path in paths]
    return {layout.name: DeclaredLayout(layout) for layout in layouts}


def all_layouts() -> Mapping[str, ScreenLayout]:
    """Returns all layouts by name: those of the package, and those of installed packages.

    Raises:
        ConfigError: an installed layout cannot be loaded, or has the name of another one.
    """
    found: dict[str, ScreenLayout] = dict(shipped_layouts())
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            layout = entry.load()()
        except Exception as error:  # any package can raise anything
            message = f"layout {entry.name} ({entry.value}) cannot be loaded: {error!r}; repair or remove its package"
            raise ConfigError(message) from error
        if layout.name in found:
            message = f"two layouts are called {layout.name}; the second is {entry.value}"
            raise ConfigError(message)
        found[layout.name] = layout
    return found


def experiment_file(landing: UPath, experiment_id: str) -> tuple[UPath, ExperimentFile] | None:
    """Returns the experiment's file and its content; None where there is none.

    Raises:
        ConfigError: it is not valid.
    """
    for path in (landing / experiment_id / EXPERIMENT_FILE, landing / EXPERIMENT_FILE):
        if path.exists():
            return path, load_yaml(path, ExperimentFile)
    return None


def choose_layout(landing: UPath, experiment_id: str) -> ScreenLayout:
    """Returns the layout of an experiment.

    Raises:
        ConfigError: `experiment.yaml` is not valid or names an unknown layout.
        LayoutError: no layout recognises the folder, or several do.
    """
    if not (landing / experiment_id).is_dir():
        message = f"{landing / experiment_id}: no such folder in the landing zone"
        raise LayoutError(message)
    given = experiment_file(landing, experiment_id)
    if given is None:
        return _recognised(landing, experiment_id)
    path, content = given
    if content.layout is None and content.images is not None:
        return DeclaredLayout(_merged(None, content, path))
    base = _recognised(landing, experiment_id) if content.layout is None else _named(content.layout, path)
    if isinstance(base, DeclaredLayout):
        return DeclaredLayout(_merged(base.declared, content, path))
    if content.model_dump(exclude={"layout"}, exclude_defaults=True):
        message = f"{path}: the layout {base.name} is in Python and cannot be changed here; leave only `layout:`"
        raise ConfigError(message)
    return base


def _named(name: str, path: UPath) -> ScreenLayout:
    layouts = all_layouts()
    if name not in layouts:
        message = f"{path}: layout: no layout is called {name!r}; there are {', '.join(layouts)}"
        raise ConfigError(message)
    return layouts[name]


def _recognised(landing: UPath, experiment_id: str) -> ScreenLayout:
    layouts = all_layouts()
    found = [layout for layout in layouts.values() if layout.recognises(landing, experiment_id)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(layout.name for layout in found)
        message = f"{landing / experiment_id}: the layouts {names} fit it; {HOW}"
    else:
        inside = [entry.name for entry in list_entries(landing / experiment_id)][:MAX_NAMED]
        message = (
            f"{landing / experiment_id}: none of the layouts {', '.join(layouts)} fits this folder, which holds "
            f"{', '.join(inside) or 'nothing'}; {HOW}"
        )
    raise LayoutError(message)


def _merged(base: Layout | None, content: ExperimentFile, path: UPath) -> Layout:
    """Returns a layout with the changes of an experiment's file."""
    values: dict[str, Any] = {"name": "experiment"} if base is None else base.model_dump(exclude_unset=True)
    changes = content.model_dump(exclude={"layout", "constants", "metadata"}, exclude_none=True, exclude_unset=True)
    metadata = dict(values.get("metadata", {}))
    if content.metadata is not None and content.metadata.tables is not None:
        metadata["tables"] = content.metadata.tables
    terms = {**metadata.get("terms", {}), **({} if content.metadata is None else content.metadata.terms)}
    metadata["terms"] = {**terms, **{term: [{"value": value}] for term, value in content.constants.items()}}
    return validate({**values, **changes, "metadata": metadata}, Layout, source=str(path))
