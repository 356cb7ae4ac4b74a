"""All documents of the explorer, by path. A path names what it holds; `docs/explorer.md` lists the paths."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from cellassets.access import OpenHome, OpenImages, OpenMap
from cellassets.errors import CellAssetsError, DatasetError, RegistryError
from cellassets.explorer import image_documents, map_documents
from cellassets.explorer.arrays import Document
from cellassets.mapping.summary import PerturbationMapSummary

if TYPE_CHECKING:
    from cellassets.storage.plan import Publication

T = TypeVar("T")
MAX_OPEN_MAPS = 2  # in memory at one time: what is shown, and what is beside it
MAX_OPEN_EXPERIMENTS = 8
CHAMPION = "champion"


class NoDocument(DatasetError, KeyError):
    """No document has this path."""

    def __str__(self) -> str:
        """Returns the message; a KeyError would quote it."""
        return str(self.args[0]) if self.args else ""


@dataclass(frozen=True, eq=False)
class Documents:
    """Makes documents from what is published; opened maps and experiments are kept for the next question.

    Attributes:
        home: the deployment.
    """

    home: OpenHome
    _maps: "Kept" = field(default_factory=lambda: Kept(MAX_OPEN_MAPS))
    _images: "Kept" = field(default_factory=lambda: Kept(MAX_OPEN_EXPERIMENTS))

    def get(self, path: str) -> Document:
        """Returns a document.

        Args:
            path: such as `maps/HUVEC/resnet_ce.v1/neighbours/0.json`.

        Raises:
            NoDocument: no document has this path.
            CellAssetsError: what it is made from is not published, or cannot be read.
        """
        match path.removesuffix(".json").split("/"):
            case ["home"]:
                return self.front()
            case ["maps", dataset_id, model_key, *rest]:
                return self._of_map(self.open_map(dataset_id, model_key), rest, path)
            case ["images", experiment_id, plate_id]:
                return image_documents.plate(self.open_images(experiment_id), plate_id)
            case ["images", experiment_id, plate_id, well_id, site_index, level]:
                images = self.open_images(experiment_id)
                return image_documents.site(images, plate_id, well_id, _number(site_index, path), _number(level, path))
        raise NoDocument(_unknown(path))

    def front(self) -> Document:
        """Returns the list of maps."""
        from importlib.metadata import version

        champion = self._champion()
        rows = self.home.deployment.lake.records()
        maps = [self._map_line(row, champion) for row in rows if row.kind == "perturbation_map"]
        return {
            "version": version("cellassets"),
            "title": self.home.deployment.name,
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "maps": sorted(maps, key=lambda line: (line["dataset_id"], not line["is_champion"], line["model_key"])),
        }

    def open_map(self, dataset_id: str, model_key: str) -> OpenMap:
        """Returns a map, opened once per publication.

        Raises:
            ArtifactMissing: it is not published.
        """
        records = self.home.deployment.lake.records()
        kinds = ("perturbation_map", "map_clusters", "active_perturbations")
        found = (records.find(kind, dataset_id, model_key) for kind in kinds)
        state = tuple(row.generation if row else 0 for row in found)
        return self._maps.of((dataset_id, model_key, *state), lambda: self.home.map(dataset_id, model_key))

    def open_images(self, experiment_id: str) -> OpenImages:
        """Returns the images of an experiment, opened once per publication.

        Raises:
            ArtifactMissing: they are not stored.
        """
        found = self.home.deployment.lake.records().find("plate_store", experiment_id)
        generation = found.generation if found else 0
        return self._images.of((experiment_id, generation), lambda: self.home.images(experiment_id))

    def _of_map(self, opened: OpenMap, rest: list[str], path: str) -> Document:
        match rest:
            case ["index"]:
                row = self.home.deployment.lake.records().need("perturbation_map", opened.dataset_id, opened.model_key)
                return map_documents.index(opened, list(row.summary(PerturbationMapSummary).cell_types))
            case ["sets"]:
                return map_documents.sets(opened)
            case ["neighbours" | "vectors" | "profiles" as kind, block]:
                try:
                    made: Document = getattr(map_documents, kind)(opened, _number(block, path))
                except KeyError as error:
                    raise NoDocument(error.args[0]) from error
                return made
        raise NoDocument(_unknown(path))

    def _map_line(self, row: "Publication", champion: str | None) -> Document:
        dataset_id, model_key = row.keys
        summary = row.summary(PerturbationMapSummary)
        deployment = self.home.deployment
        return {
            "dataset_id": dataset_id,
            "model_key": model_key,
            "n_perturbations": summary.n_perturbations,
            "n_dimensions": summary.embedding_dim,
            "is_champion": model_key == champion,
            "cell_types": list(summary.cell_types),
            "links": {
                "dagster": deployment.partition_link("perturbation_map", f"{dataset_id}|{model_key}"),
                "report": f"reports/{model_key}" if self._has_report(model_key) else None,
            },
        }

    def _has_report(self, model_key: str) -> bool:
        return self.home.deployment.lake.records().find("model_report", model_key) is not None

    def _champion(self) -> str | None:
        """The model in production; None where there is none, or where MLflow does not answer."""
        try:
            return self.home.model_key(CHAMPION)
        except (RegistryError, CellAssetsError):
            return None


@dataclass(eq=False)
class Kept:
    """The last few values that were made, by key. Threads that ask for one key at the same time make it once."""

    n_kept: int
    _values: OrderedDict[tuple[Any, ...], Any] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def of(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """Returns the value of a key; makes it if it is not kept."""
        with self._lock:
            if key not in self._values:
                while len(self._values) >= self.n_kept:
                    self._values.popitem(last=False)
                self._values[key] = make()
            self._values.move_to_end(key)
            found: T = self._values[key]
        return found


def _number(text: str, path: str) -> int:
    if not text.isdecimal():
        raise NoDocument(_unknown(path))
    return int(text)


def _unknown(path: str) -> str:
    return f"no document has the path {path!r}; docs/explorer.md lists the paths"
