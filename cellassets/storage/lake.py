"""Where every artefact lies below one root: a local folder or any fsspec URL.

This is the only place that knows the folder names. `docs/data-layout.md` shows them to people.
"""

from dataclasses import dataclass

from upath import UPath

from cellassets.fingerprint import check_partition_key
from cellassets.storage.artifact import Artifact
from cellassets.storage.paths import resolve_below  # noqa: F401  moved; kept until its importers name the new place


@dataclass(frozen=True)
class Lake:
    """All artefacts of one deployment."""

    root: UPath

    def raw_plates(self, experiment_id: str) -> Artifact:
        """Manifest of one landed experiment: `images.parquet`, `wells.parquet`, `findings.parquet`."""
        return self._artifact("raw_plates", experiment_id)

    def plate_store(self, experiment_id: str) -> Artifact:
        """Repacked images of one experiment: `<plate_id>.zarr/...`, `sites.parquet`, `wells.parquet`."""
        return self._artifact("plate_store", experiment_id)

    def plate_quality(self, experiment_id: str) -> Artifact:
        """Quality of one experiment: `quality.parquet`, plate heat maps (PNG) and contact sheets (JPEG)."""
        return self._artifact("plate_quality", experiment_id)

    def checkpoint(self, recipe_name: str) -> Artifact:
        """Outcome of one recipe: the trained encoder's folder; `summary["model_key"]` names it in the registry."""
        return self._artifact("checkpoint", recipe_name)

    def site_embeddings(self, experiment_id: str, model_key: str) -> Artifact:
        """Embeddings of one experiment by one model: `part-*.parquet`."""
        return self._artifact("site_embeddings", model_key, experiment_id)

    def perturbation_map(self, dataset_id: str, model_key: str) -> Artifact:
        """Map of one dataset by one model: `map.parquet`, `wells.parquet`, `wells_raw.parquet`."""
        return self._artifact("perturbation_map", dataset_id, model_key)

    def scores(self, benchmark_name: str, dataset_id: str, model_key: str) -> Artifact:
        """Scores of one benchmark on one map: `scores.parquet`."""
        return self._artifact("scores", benchmark_name, dataset_id, model_key)

    def leaderboard(self) -> Artifact:
        """All models compared: `leaderboard.parquet`, `differences.parquet`."""
        return self._artifact("leaderboard")

    def model_report(self, model_key: str) -> Artifact:
        """One model's page for people: `report.html`."""
        return self._artifact("model_report", model_key)

    def production_model(self) -> Artifact:
        """The gate's last decision: `comparisons.parquet`; `summary["champion"]` names the model in production."""
        return self._artifact("production_model")

    @property
    def annotations(self) -> UPath:
        """Folder of the known relationships that maps are judged on: a CSV a source."""
        return self.root / "annotations"

    def keys(self, kind: str, *parents: str) -> list[str]:
        """Returns the folder names one level below a kind of artefact, sorted (empty where there is none)."""
        folder = self._folder(kind, *parents)
        if not folder.is_dir():
            return []
        return sorted(child.name for child in folder.iterdir() if child.is_dir())

    def _artifact(self, kind: str, *keys: str) -> Artifact:
        return Artifact(self._folder(kind, *keys))

    def _folder(self, kind: str, *keys: str) -> UPath:
        folder = self.root / kind
        for key in keys:
            folder = folder / check_partition_key(key, f"{kind} key")
        return folder
