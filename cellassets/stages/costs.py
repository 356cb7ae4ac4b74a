"""What making a partition costs: pod-time times price, and the images that it is divided by."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cellassets.configuration import Parameters, load_yaml
from cellassets.errors import CellAssetsError
from cellassets.screens.summary import RawPlatesSummary
from cellassets.stages.datasets import dataset_experiments
from cellassets.stages.snapshot import Snapshot
from cellassets.stages.stage import Keys

if TYPE_CHECKING:
    import polars as pl
    from upath import UPath

    from cellassets.storage.ledger import Ledger

PRICES_NAME = "prices.yaml"
VIEW = "costs"
SECONDS_PER_HOUR = 3600


class Prices(Parameters):
    """What the machines of this deployment cost. Without the file, only times are shown."""

    currency: str = Field(pattern="^[A-Z]{3}$", description="Three letters, such as `EUR`")
    core_hour: float = Field(ge=0, description="One processor core for one hour, on demand")
    memory_gib_hour: float = Field(ge=0, description="One GiB of memory for one hour, on demand")
    gpu_hour: float = Field(ge=0, description="One GPU for one hour, on demand")
    spot_factor: float = Field(default=1, gt=0, le=1, description="Price of a spot machine, as a part of the other")
    spot: Literal["none", "gpu", "all"] = Field(
        default="none", description="Which runs are on spot machines: none, those with a GPU, or all"
    )

    def cost(self, wall_s: float, *, cores: float, memory_gib: float, gpus: int) -> float:
        """Returns what a pod costs, in `currency`.

        Args:
            wall_s: how long it ran, in seconds.
            cores: processor cores that it requests.
            memory_gib: memory that it requests.
            gpus: GPUs that it requests.
        """
        per_hour = cores * self.core_hour + memory_gib * self.memory_gib_hour + gpus * self.gpu_hour
        is_spot = self.spot == "all" or (self.spot == "gpu" and gpus > 0)
        return wall_s / SECONDS_PER_HOUR * per_hour * (self.spot_factor if is_spot else 1)


def load_prices(configs: "UPath") -> Prices | None:
    """Returns the prices of a settings folder, or None if it has none.

    Raises:
        ConfigError: the file is wrong.
    """
    path = configs / PRICES_NAME
    return load_yaml(path, Prices) if path.exists() else None


def images_and_sites(snapshot: Snapshot, keys: Keys) -> tuple[int | None, int | None]:
    """Returns how many image files and sites the experiments of a partition have; None for a partition without any."""
    try:
        if "experiment" in keys:
            experiments: tuple[str, ...] = (keys["experiment"],)
        else:
            experiments = dataset_experiments(snapshot, keys["dataset"]) if "dataset" in keys else ()
        found = [snapshot.find("raw_plates", name) for name in experiments]
        summaries = [one.summary(RawPlatesSummary) for one in found if one is not None]
    except CellAssetsError:  # the partition itself was refused for it
        return None, None
    if not summaries:
        return None, None
    return sum(summary.n_images for summary in summaries), sum(summary.n_sites for summary in summaries)


def costs_table(ledger: "Ledger") -> "pl.DataFrame | None":
    """Returns the view `costs`: one row per attempt; None where nothing was attempted yet."""
    import polars as pl

    attempts = ledger.attempts()
    if not attempts:
        return None
    table = pl.DataFrame(attempts, infer_schema_length=None)
    texts = [name for name, dtype in table.schema.items() if dtype == pl.Null and name not in {"cost", "n_images"}]
    per_thousand = (1000 * pl.col("cost") / pl.col("n_images")).alias("cost_per_1000_images")
    return table.with_columns(
        pl.col(texts).cast(pl.String),
        pl.col("started_at").str.to_datetime(time_zone="UTC"),
        pl.col("cost").cast(pl.Float64),
        pl.col("n_images", "n_sites").cast(pl.Int64),
    ).with_columns(per_thousand)
