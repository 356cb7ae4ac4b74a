"""The datasets of a snapshot: one per cell type that landed, and the curated ones in `configs/datasets/`.

`cellassets.mapping.dataset` defines datasets. This module lists them, with the experiments and wells that they contain
now.
"""

from typing import TYPE_CHECKING

from cellassets.errors import CellAssetsError, ConfigError, DatasetError
from cellassets.fingerprint import KEY_PATTERN, fingerprint
from cellassets.screens.summary import RawPlatesSummary
from cellassets.stages.settings import gate_policy, policy
from cellassets.stages.snapshot import Snapshot

if TYPE_CHECKING:
    import polars as pl

    from cellassets.judging.gate import GatePolicy
    from cellassets.mapping.dataset import Dataset


def dataset_names(snapshot: Snapshot) -> tuple[str, ...]:
    """Returns the names of all datasets, including those that cannot be used, sorted."""
    return tuple(sorted({*cell_types(snapshot), *snapshot.config_names("datasets")}))


def declared_datasets(snapshot: Snapshot) -> tuple[str, ...]:
    """Returns the datasets that policy names as active, sorted: the declared family of comparisons.

    A dataset that only a backfill scored is not among them.
    """
    return snapshot.value(_declared)


def asked_gate_policy(snapshot: Snapshot) -> "GatePolicy":
    """Returns the gate's policy with the datasets that it asks about; the defaults without a `gate.yaml`."""
    from cellassets.judging.gate import GatePolicy

    found = gate_policy(snapshot) if snapshot.config("gate.yaml").exists() else GatePolicy()
    active = declared_datasets(snapshot)
    deciding = active if found.deciding_datasets == "all" else found.deciding_datasets
    guarded = tuple(dict.fromkeys([*active, *deciding])) if found.datasets is None else found.datasets
    return found.model_copy(update={"deciding_datasets": deciding, "datasets": guarded})


def dataset_named(snapshot: Snapshot, dataset_id: str) -> "Dataset":
    """Returns a dataset that can be used.

    Raises:
        DatasetError: no cell type that landed and no YAML file has this name.
        ConfigError: its YAML file is wrong.
    """
    return snapshot.value(_dataset, dataset_id)


def dataset_problem(snapshot: Snapshot, dataset_id: str) -> str | None:
    """Returns why a dataset cannot be used; None if it can be used."""
    return snapshot.value(_problem, dataset_id)


def dataset_experiments(snapshot: Snapshot, dataset_id: str) -> tuple[str, ...]:
    """Returns the experiments that the dataset's wells come from, sorted.

    Raises:
        DatasetError: the dataset names an experiment that has not landed, or no landed experiment fits it.
    """
    return snapshot.value(_experiments, dataset_id)


def dataset_fingerprint(snapshot: Snapshot, dataset_id: str) -> str:
    """Returns the fingerprint of the wells in the dataset, independent of their order, and of its quality limits.

    Raises:
        DatasetError: like `dataset_experiments`, or the wells of a frozen dataset have changed.
    """
    return snapshot.value(_fingerprint, dataset_id)


def cell_types(snapshot: Snapshot) -> tuple[str, ...]:
    """Returns the cell types that have landed and can name a dataset, sorted."""
    return snapshot.value(_cell_types)


def cell_types_of(snapshot: Snapshot, experiment_id: str) -> tuple[str, ...]:
    """Returns the cell types of one experiment."""
    return snapshot.value(_cell_types_of, experiment_id)


def frozen_dataset(snapshot: Snapshot, dataset_id: str) -> "Dataset":
    """Returns the present dataset with a list of its experiments and the fingerprint of its wells.

    Raises:
        DatasetError: like `dataset_fingerprint`.
    """
    now = {
        "experiment_ids": dataset_experiments(snapshot, dataset_id),
        "frozen_fingerprint": dataset_fingerprint(snapshot, dataset_id),
    }
    return dataset_named(snapshot, dataset_id).model_copy(update=now)


def _declared(snapshot: Snapshot) -> tuple[str, ...]:
    wanted = policy(snapshot).datasets.active
    return tuple(name for name in dataset_names(snapshot) if wanted == "all" or name in wanted)


def landed_experiments(snapshot: Snapshot) -> tuple[str, ...]:
    """Returns the experiments that were accepted and whose summaries can be read, sorted."""
    unreadable = unreadable_experiments(snapshot)
    return tuple(name for name in snapshot.keys("raw_plates") if name not in unreadable)


def landed_wells(snapshot: Snapshot, experiment_id: str) -> "pl.DataFrame":
    """Returns the wells of an experiment that landed, as WELLS.

    Raises:
        NotReady: it did not land, or was not accepted.
    """
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import WELLS

    published = snapshot.deployment.lake.open(snapshot.need("raw_plates", experiment_id))
    return read_table(published.file("wells.parquet"), WELLS)


def unreadable_experiments(snapshot: Snapshot) -> dict[str, str]:
    """Returns the reason for each experiment whose summary is damaged. No dataset contains it."""
    return snapshot.value(_unreadable)


def _unreadable(snapshot: Snapshot) -> dict[str, str]:
    found: dict[str, str] = {}
    for experiment_id in snapshot.keys("raw_plates"):
        try:
            cell_types_of(snapshot, experiment_id)
        except CellAssetsError as error:
            found[experiment_id] = str(error)
    return found


def _cell_types(snapshot: Snapshot) -> tuple[str, ...]:
    found = {name for experiment_id in landed_experiments(snapshot) for name in cell_types_of(snapshot, experiment_id)}
    return tuple(sorted(name for name in found if KEY_PATTERN.fullmatch(name) and ".." not in name))


def _cell_types_of(snapshot: Snapshot, experiment_id: str) -> tuple[str, ...]:
    return snapshot.need("raw_plates", experiment_id).summary(RawPlatesSummary).cell_types


def _problem(snapshot: Snapshot, dataset_id: str) -> str | None:
    try:
        dataset_fingerprint(snapshot, dataset_id)
        _check_annotations(snapshot, dataset_id)
    except CellAssetsError as error:
        return str(error)
    return None


def _dataset(snapshot: Snapshot, dataset_id: str) -> "Dataset":
    from cellassets.mapping.dataset import Dataset, load_dataset

    is_curated = dataset_id in snapshot.config_names("datasets")
    if dataset_id in cell_types(snapshot):
        if is_curated:
            path = snapshot.config("datasets", f"{dataset_id}.yaml")
            message = f"{path}: the cell type {dataset_id} is a dataset of this name already; rename the file"
            raise ConfigError(message)
        return Dataset(dataset_id=dataset_id, cell_types=(dataset_id,))
    if not is_curated:
        message = (
            f"dataset {dataset_id!r} is neither a cell type that landed nor a file in "
            f"{snapshot.config('datasets')}; known: {', '.join(dataset_names(snapshot)) or 'none'}"
        )
        raise DatasetError(message)
    return load_dataset(snapshot.config("datasets", f"{dataset_id}.yaml"))


def _experiments(snapshot: Snapshot, dataset_id: str) -> tuple[str, ...]:
    dataset = dataset_named(snapshot, dataset_id)
    landed = snapshot.keys("raw_plates")
    missing = sorted(set(dataset.experiment_ids or ()) - set(landed))
    if missing:
        message = f"dataset {dataset_id}: experiments {missing} have not landed; landed are {list(landed[:20])}"
        raise DatasetError(message)
    candidates = landed_experiments(snapshot) if dataset.experiment_ids is None else sorted(set(dataset.experiment_ids))
    wanted = None if dataset.cell_types is None else set(dataset.cell_types)
    found = [name for name in candidates if wanted is None or wanted & set(cell_types_of(snapshot, name))]
    if not found:
        message = (
            f"dataset {dataset_id}: no experiment of cell types {dataset.cell_types} among {list(candidates[:20])}; "
            "land one, or correct cell_types"
        )
        raise DatasetError(message)
    return tuple(found)


def _fingerprint(snapshot: Snapshot, dataset_id: str) -> str:
    dataset = dataset_named(snapshot, dataset_id)
    parts = {
        experiment_id: snapshot.value(_wells_fingerprint, experiment_id, dataset.cell_types, dataset.perturbation_kinds)
        for experiment_id in dataset_experiments(snapshot, dataset_id)
    }
    limits = dataset.quality.model_dump(mode="json", exclude_defaults=True)
    found = fingerprint({"wells": parts, "quality": limits} if limits else {"wells": parts})
    if dataset.frozen_fingerprint not in (None, found):
        message = (
            f"dataset {dataset_id} is frozen with wells {dataset.frozen_fingerprint} and now holds {found}: "
            "restore the experiments that it was frozen with, or give the new wells a new dataset_id"
        )
        raise DatasetError(message)
    return found


def _wells_fingerprint(
    snapshot: Snapshot,
    experiment_id: str,
    cell_types: tuple[str, ...] | None,
    perturbation_kinds: tuple[str, ...] | None,
) -> str:
    """Returns the fingerprint of the selected wells of one experiment; the manifest has the usual ones."""
    from cellassets.screens.well_selection import find_fingerprint, wells_fingerprint_of
    from cellassets.tables.parquet import read_table
    from cellassets.tables.schemas import WELLS

    manifest = snapshot.need("raw_plates", experiment_id)
    summary = manifest.summary(RawPlatesSummary)
    known = find_fingerprint(
        summary.wells_fingerprints, summary.cell_types, cell_types=cell_types, perturbation_kinds=perturbation_kinds
    )
    if known is not None:
        return known
    wells = read_table(snapshot.deployment.lake.open(manifest).file("wells.parquet"), WELLS)
    return wells_fingerprint_of(wells, cell_types, perturbation_kinds)


def _check_annotations(snapshot: Snapshot, dataset_id: str) -> None:
    """Raises an error if the dataset names an annotation source that does not exist."""
    from cellassets.knowledge.annotations import annotation_files

    annotation_files(snapshot.annotations(), dataset_named(snapshot, dataset_id).annotation_sources)
