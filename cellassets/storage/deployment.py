"""All places of a deployment. The command line and Dagster both read this module.

A local deployment is one folder, the home. Production sets each place on its own:

| variable | meaning | default |
| --- | --- | --- |
| `CELLASSETS_HOME` | folder of a local deployment | `demo` below the working folder |
| `CELLASSETS_LAKE` | artefacts: folder or URL | `<home>/lake` |
| `CELLASSETS_CATALOGUE` | database of the lake's catalogue | `catalogue.db` in a local lake |
| `CELLASSETS_LANDING` | landing zone: folder or URL | `<home>/landing` |
| `CELLASSETS_WORK` | local folder for scratch files and locks | `<home>/work` |
| `CELLASSETS_CONFIGS` | recipes, datasets, benchmarks, policy | from `<home>/deployment.yaml` (see below) |
| `MLFLOW_TRACKING_URI` | MLflow server or database | `<home>/mlflow.db` |
| `CELLASSETS_MODELS` | artefacts of models: folder or URL | `<home>/models` |
| `CELLASSETS_IMAGE` | container image of this process, which models trained here are tagged with | empty |
| `CELLASSETS_UI_URL` | address of Dagster's UI as people reach it, for links in MLflow and alerts | empty: no links |
| `CELLASSETS_MLFLOW_URL` | address of MLflow's UI as people reach it, for links in Dagster | empty: no links |

A home can name its own settings folder: `configs: FOLDER` in `<home>/deployment.yaml`, absolute or relative to the
home. So a later command on the same home uses the same settings. The file is read only for the lake inside the home.
Without it, the settings are in `configs` beside the packages.

This module never reads environment variables by itself: the caller passes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml
from upath import UPath

from cellassets.configuration import Parameters, load_yaml
from cellassets.errors import ConfigError
from cellassets.storage.artifact import is_local, write_bytes
from cellassets.storage.lake import Lake

DEFAULT_HOME = "demo"
CONFIGS_BESIDE = Path(__file__).parents[2] / "configs"


class HomeSettings(Parameters):
    """Settings of a home, in its `deployment.yaml`.

    Attributes:
        configs: folder of settings, absolute or relative to the home.
    """

    configs: str


@dataclass(frozen=True)
class Home:
    """The folder of a local deployment. `root` should be absolute."""

    root: Path

    @property
    def lake(self) -> Path:
        """All artefacts."""
        return self.root / "lake"

    @property
    def landing(self) -> Path:
        """Landing zone: one folder per experiment."""
        return self.root / "landing"

    @property
    def tracking_uri(self) -> str:
        """MLflow's database."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def model_root(self) -> str:
        """MLflow's artefact folder."""
        return (self.root / "models").as_uri()

    @property
    def work(self) -> Path:
        """Scratch space and locks of this machine. What a killed run continues from is in the lake."""
        return self.root / "work"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance: runs, events, schedules."""
        return self.root / "dagster"

    @property
    def settings_file(self) -> Path:
        """The file in which the home names its settings folder."""
        return self.root / "deployment.yaml"

    def remember_configs(self, configs: Path) -> None:
        """Writes the settings folder of this home into its `deployment.yaml`.

        The path is relative if the folder is inside the home, so that the home can be moved. Otherwise it is absolute.
        """
        folder = configs.absolute()
        place = folder.relative_to(self.root) if folder.is_relative_to(self.root) else folder
        text = yaml.safe_dump(HomeSettings(configs=str(place)).model_dump())
        write_bytes(UPath(self.settings_file), text.encode())

    def find_configs(self) -> Path | None:
        """Returns the settings folder that this home names; None if it does not name one.

        Raises:
            ConfigError: the file is wrong, or the folder does not exist.
        """
        if not self.settings_file.is_file():
            return None
        folder = self.root / load_yaml(UPath(self.settings_file), HomeSettings).configs
        if not folder.is_dir():
            message = (
                f"{self.settings_file}: configs: the folder {folder} does not exist; correct the file, or name the "
                "settings folder with --configs or CELLASSETS_CONFIGS"
            )
            raise ConfigError(message)
        return folder


@dataclass(frozen=True)
class Deployment:
    """All places of one deployment, as folders, fsspec URLs and database URLs."""

    lake_root: str
    catalogue_url: str
    landing_root: str
    work_root: str
    configs_root: str
    tracking_uri: str
    model_root: str
    image: str = ""
    ui_url: str = ""
    mlflow_url: str = ""

    @classmethod
    def of(
        cls, environment: Mapping[str, str], *, home: Path | None = None, configs: Path | None = None
    ) -> "Deployment":
        """Returns the deployment that the environment names.

        Args:
            environment: the variables in this module's table; those that are missing or empty get their defaults.
            home: a local deployment to use instead. All other variables are then ignored.
            configs: folder of settings, instead of `CELLASSETS_CONFIGS`.

        Raises:
            ConfigError: the home names a settings folder that does not exist, and nothing else names one.
        """
        given = {} if home is not None else {name: value for name, value in environment.items() if value}
        place = Home((home or Path(given.get("CELLASSETS_HOME", DEFAULT_HOME))).absolute())
        named = str(configs.absolute()) if configs is not None else environment.get("CELLASSETS_CONFIGS")
        own = None if named or "CELLASSETS_LAKE" in given else place.find_configs()
        return cls(
            lake_root=given.get("CELLASSETS_LAKE", str(place.lake)),
            catalogue_url=given.get("CELLASSETS_CATALOGUE", ""),
            landing_root=given.get("CELLASSETS_LANDING", str(place.landing)),
            work_root=given.get("CELLASSETS_WORK", str(place.work)),
            configs_root=named or str(own or CONFIGS_BESIDE),
            tracking_uri=given.get("MLFLOW_TRACKING_URI", place.tracking_uri),
            model_root=given.get("CELLASSETS_MODELS", place.model_root),
            image=environment.get("CELLASSETS_IMAGE", ""),
            ui_url=environment.get("CELLASSETS_UI_URL", ""),
            mlflow_url=environment.get("CELLASSETS_MLFLOW_URL", ""),
        )

    def environment(self) -> dict[str, str]:
        """Returns the variables that name this deployment, for a process that is started to work on it."""
        return {
            "CELLASSETS_LAKE": self.lake_root,
            "CELLASSETS_CATALOGUE": self.catalogue_url,
            "CELLASSETS_LANDING": self.landing_root,
            "CELLASSETS_WORK": self.work_root,
            "CELLASSETS_CONFIGS": self.configs_root,
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "CELLASSETS_MODELS": self.model_root,
            "CELLASSETS_IMAGE": self.image,
            "CELLASSETS_UI_URL": self.ui_url,
            "CELLASSETS_MLFLOW_URL": self.mlflow_url,
        }

    def partition_link(self, asset: str, key: str) -> str | None:
        """Returns the address of a partition in Dagster's UI; None if the UI's address is not set."""
        return f"{self.ui_url.rstrip('/')}/assets/{asset}?partition={quote(key)}" if self.ui_url else None

    def mlflow_link(self, run_id: str) -> str | None:
        """Returns the address of a run in MLflow's UI; None if the UI's address is not set."""
        return f"{self.mlflow_url.rstrip('/')}/#/runs/{quote(run_id)}" if self.mlflow_url else None

    @property
    def name(self) -> str:
        """A short name for people: that of the folder or bucket that holds the lake."""
        return UPath(self.lake_root).parent.name or UPath(self.lake_root).name or self.lake_root

    @property
    def lake(self) -> Lake:
        """The lake."""
        return Lake(UPath(self.lake_root), self.catalogue_url)

    @property
    def landing(self) -> UPath:
        """The landing zone: one folder per experiment."""
        return UPath(self.landing_root)

    @property
    def configs(self) -> UPath:
        """The folder of recipes, datasets, benchmark settings and policy."""
        return UPath(self.configs_root)

    def work_folder(self, *names: str) -> Path:
        """Returns a local folder for scratch files; creates it if needed."""
        folder = Path(self.work_root).joinpath(*names)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def require(self) -> "Deployment":
        """Returns the deployment itself, after checking that it exists.

        Raises:
            ConfigError: neither the lake nor the landing zone exists; nothing was created.
            StorageRefused: a bucket exists, but we may not read it.
        """
        if not any(_is_there(UPath(place)) for place in (self.lake_root, self.landing_root)):
            message = (
                f"no deployment here: neither a lake ({self.lake_root}) nor a landing zone ({self.landing_root}) is "
                "there. Name its folder with --home, or set CELLASSETS_HOME; for a new deployment create the landing "
                "zone first"
            )
            raise ConfigError(message)
        return self


def _is_there(place: UPath) -> bool:
    """Returns true for a folder that exists, and for any place in a bucket that exists: buckets have no folders."""
    return place.exists() or not is_local(place)
