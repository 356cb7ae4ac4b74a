"""The resources of this deployment. Environment variables enter here and nowhere else.

| variable | meaning | default |
| --- | --- | --- |
| `CELLASSETS_HOME` | folder of a local deployment | `demo` below the working folder |
| `CELLASSETS_LAKE` | artefacts, folder or URL | `<home>/lake` |
| `CELLASSETS_LANDING` | landing zone, folder or URL | `<home>/landing` |
| `CELLASSETS_WORK` | local folder for unpublished work | `<home>/work` |
| `CELLASSETS_CONFIGS` | recipes, data sets, benchmarks, policy | `configs` beside the packages |
| `MLFLOW_TRACKING_URI` | MLflow server or database | `<home>/mlflow.db` |
| `CELLASSETS_MODELS` | artefacts of models, folder or URL | `<home>/models` |
"""

from pathlib import Path

import dagster as dg

from cellassets.storage.deployment import Home
from resources.places import ConfigsResource, LakeResource, LandingResource, RegistryResource

CONFIGS_BESIDE = Path(__file__).parents[1] / "configs"


def build_resources() -> dict[str, dg.ConfigurableResource]:
    """Returns the resources by the names under which assets and sensors ask for them."""
    home = Home(Path(_read("CELLASSETS_HOME", "demo")).resolve())
    return {
        "lake": LakeResource(
            root=_read("CELLASSETS_LAKE", str(home.lake)), work=_read("CELLASSETS_WORK", str(home.work))
        ),
        "landing": LandingResource(root=_read("CELLASSETS_LANDING", str(home.landing))),
        "registry": RegistryResource(
            tracking_uri=_read("MLFLOW_TRACKING_URI", home.tracking_uri),
            artifact_root=_read("CELLASSETS_MODELS", home.model_root),
        ),
        "configs": ConfigsResource(root=_read("CELLASSETS_CONFIGS", str(CONFIGS_BESIDE))),
    }


def _read(name: str, default: str) -> str:
    return dg.EnvVar(name).get_value(default=default) or default
