"""What the report shows of a map: its genes in clustered order with the known groups, and sites to look at."""

import base64
import io
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, UInt8

from cellassets.errors import CellAssetsError
from cellassets.images.reader import ExperimentStore
from cellassets.mapping.relate import cosine_similarities
from cellassets.quality.composite import channel_limits, composite
from cellassets.storage.lake import Lake
from cellassets.tables.parquet import read_table, vectors
from cellassets.tables.schemas import QUALITY

MAX_GENES = 300
OPTIMAL_ORDER_UP_TO = 300
MAX_SIDE_PX = 256
JPEG_QUALITY = 88
SITE = ["plate_id", "well_id", "site_index"]


@dataclass(frozen=True)
class ClusteredMap:
    """Cosines between genes in clustered order, and the number of each gene's known group."""

    names: list[str]
    cosines: Float[np.ndarray, "gene gene"]
    groups: list[int | None]
    n_left_out: int


@dataclass(frozen=True)
class ExampleSite:
    """A composite picture of one site as a data URL, and where it is from."""

    picture: str
    place: str


@dataclass(frozen=True)
class Example:
    """A strong perturbation beside a negative control of the same plate, shown with the same display limits."""

    perturbation_id: str
    value: float
    treated: ExampleSite
    control: ExampleSite


def clustered_map(map_table: pl.DataFrame, known_pairs: pl.DataFrame | None) -> ClusteredMap:
    """Returns the genes of a map by average linkage of 1 - cosine, leaves ordered so that neighbours are alike.

    Of more than 300 genes those in known pairs are shown first, then the longest vectors; the rest is counted.

    Source: optimal leaf ordering, Bar-Joseph et al. (2001), Bioinformatics 17:S22.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    genes = map_table.filter((pl.col("perturbation_kind") == "gene") & pl.col("control_kind").is_null())
    genes = genes.with_columns(pl.coalesce("gene_symbol", "perturbation_id").alias("name"))
    groups = known_groups(known_pairs)
    lengths = np.linalg.norm(vectors(genes), axis=1)
    priority = np.lexsort((-lengths, [name not in groups for name in genes["name"]]))
    shown = genes[np.sort(priority[:MAX_GENES])]
    cosines = cosine_similarities(vectors(shown))
    order = np.arange(shown.height)
    if shown.height > 2:
        distances = squareform(np.maximum(1 - cosines, 0), checks=False)
        tree = linkage(distances, "average")
        order = leaves_list(optimal_leaf_ordering(tree, distances))
    names = shown["name"].to_list()
    ordered = [names[place] for place in order]
    return ClusteredMap(
        ordered, cosines[np.ix_(order, order)], [groups.get(n) for n in ordered], genes.height - shown.height
    )


def known_groups(pairs: pl.DataFrame | None) -> dict[str, int]:
    """Returns the number of each gene's group: genes that known pairs connect, largest group first."""
    if pairs is None:
        return {}
    root: dict[str, str] = {}

    def find(gene: str) -> str:
        root.setdefault(gene, gene)
        while root[gene] != gene:
            root[gene] = root[root[gene]]
            gene = root[gene]
        return gene

    for first, second in pairs.select("entity1", "entity2").rows():
        root[find(first)] = find(second)
    members: dict[str, list[str]] = {}
    for gene in sorted(root):
        members.setdefault(find(gene), []).append(gene)
    by_size = sorted(members.values(), key=lambda genes: (-len(genes), genes))
    return {gene: number for number, genes in enumerate(by_size) for gene in genes}


def examples(lake: Lake, wells: pl.DataFrame, strongest: pl.DataFrame, units: list[str]) -> list[Example]:
    """Returns pictures of the strongest perturbations; one whose images cannot be read any more is left out.

    Args:
        lake: holds the stores.
        wells: WELL_EMBEDDINGS rows of the map.
        strongest: `perturbation_id` and `value`, strongest first.
        units: what each well counts as.
    """
    labelled = wells.with_columns(pl.Series("unit", units))
    found = []
    for name, value in strongest.select("perturbation_id", "value").rows():
        try:
            example = _example(lake, labelled, name, value)
        except CellAssetsError:
            continue  # the store was taken away or made anew since: the report is on the scores
        if example is not None:
            found.append(example)
    return found


def _example(lake: Lake, wells: pl.DataFrame, name: str, value: float) -> Example | None:
    controls = wells.filter(pl.col("control_kind") == "negative")
    on_plate = ["experiment_id", "plate_id"]
    treated = wells.filter(pl.col("unit") == name).join(controls.select(on_plate).unique(), on=on_plate)
    if treated.is_empty():
        return None
    well = treated.sort("experiment_id", "plate_id", "well_id").row(0, named=True)
    control = controls.filter(
        (pl.col("experiment_id") == well["experiment_id"]) & (pl.col("plate_id") == well["plate_id"])
    ).sort("well_id")
    stored = lake.plate_store(well["experiment_id"])
    record = stored.record()
    store = ExperimentStore.open(stored.folder(record.fingerprint), record.files, well["experiment_id"])
    indices = [_site_of(lake, store, chosen) for chosen in (well, control.row(0, named=True))]
    images = store.read(indices)
    limits = channel_limits(images)
    shown = [
        ExampleSite(_jpeg(composite(_centre(site), limits)), _place(store, i))
        for site, i in zip(images, indices, strict=True)
    ]
    return Example(name, value, shown[0], shown[1])


def _site_of(lake: Lake, store: ExperimentStore, well: dict[str, object]) -> int:
    """The first site of a well that is not flagged, or its first one."""
    quality = read_table(lake.plate_quality(store.experiment_id).path("quality.parquet"), QUALITY)
    sites = store.sites.with_row_index("index").join(quality.select(*SITE, "is_flagged"), on=SITE, how="left")
    of_well = sites.filter((pl.col("plate_id") == well["plate_id"]) & (pl.col("well_id") == well["well_id"]))
    return int(of_well.sort("is_flagged", "index")["index"][0])


def _place(store: ExperimentStore, index: int) -> str:
    row = store.sites.row(index, named=True)
    return f"{store.experiment_id} {row['plate_id']} {row['well_id']} site {row['site_index']}"


def _centre(site: UInt8[np.ndarray, "channel y x"]) -> UInt8[np.ndarray, "channel h w"]:
    top, left = (max(0, (side - MAX_SIDE_PX) // 2) for side in site.shape[1:])
    return site[:, top : top + MAX_SIDE_PX, left : left + MAX_SIDE_PX]


def _jpeg(picture: UInt8[np.ndarray, "y x 3"]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
