"""Known biology that maps are judged against: tables in the lake's `annotations/`, one file per source.

The columns of a file give its kind: pairs (entity1, entity2, as in EFAAR_benchmarking's tables), sets (set_id, member;
or a GMT file, or EFAAR's clusters), targets of compounds (compound_id, gene_symbol), or chromosome arms of genes
(gene_symbol, chromosome_arm). A dataset names the sources that it is judged against. The table of arms that alignment
reads is in `gene_arms.py`.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache

import polars as pl
from upath import UPath

from cellassets.errors import AnnotationError
from cellassets.knowledge.annotation_files import read_source, source_kind
from cellassets.storage.artifact import describe_file

SUFFIXES = (".csv", ".txt", ".tsv", ".gmt")
MAX_SET_MEMBERS = 200


@dataclass(frozen=True)
class Annotations:
    """All sources that a map is judged against, by kind and name.

    Attributes:
        pairs: entity1 < entity2, each pair once; the pairs within the sets of a set source too (`pairs_within`).
        sets: set_id, member; a member may be in several sets.
        targets: compound_id, gene_symbol.
        gene_arms: gene_symbol, chromosome_arm (such as 1p or Xq), each gene once.
    """

    pairs: dict[str, pl.DataFrame] = field(default_factory=dict)
    sets: dict[str, pl.DataFrame] = field(default_factory=dict)
    targets: dict[str, pl.DataFrame] = field(default_factory=dict)
    gene_arms: dict[str, pl.DataFrame] = field(default_factory=dict)

    def arm_of_gene(self) -> dict[str, str]:
        """Returns the arm of each gene; where sources differ, the first by name is used."""
        return {gene: arm for name in sorted(self.gene_arms, reverse=True) for gene, arm in self.gene_arms[name].rows()}


def read_annotations(folder: UPath, kinds: Collection[str], names: Collection[str] | None = None) -> Annotations:
    """Returns the sources of a folder that are of these kinds.

    Args:
        folder: the lake's annotations; there are no sources if it does not exist.
        kinds: `pairs`, `sets`, `targets`, `gene_arms`. A set source also counts as pairs.
        names: sources to read; None: all.

    Raises:
        AnnotationError: a source cannot be read, or one of `names` does not exist.
    """
    annotations = Annotations()
    for path in _files_of(folder, kinds, names).values():
        source = read_source(path)
        if source.kind in kinds:
            getattr(annotations, source.kind)[source.name] = source.rows
        if source.kind == "sets" and "pairs" in kinds:
            annotations.pairs[source.name] = pairs_within(source.rows)
    return annotations


def annotation_files(folder: UPath, names: Collection[str] | None = None) -> dict[str, UPath]:
    """Returns the files of a folder by source name, sorted by name.

    Raises:
        AnnotationError: two files have one source name, or one of `names` does not exist.
    """
    paths = sorted(folder.iterdir(), key=lambda path: path.name) if folder.is_dir() else []
    found: dict[str, UPath] = {}
    for path in (path for path in paths if path.suffix in SUFFIXES):
        if path.stem in found:
            message = f"{path} and {found[path.stem].name}: two files of one source; remove one"
            raise AnnotationError(message)
        found[path.stem] = path
    missing = sorted(set(names or ()) - set(found))
    if missing:
        message = f"{folder}: no annotation source {missing}; there are {sorted(found)}; add it by `annotation add`"
        raise AnnotationError(message)
    return {name: path for name, path in found.items() if names is None or name in names}


def annotation_fingerprints(
    folder: UPath, kinds: Collection[str], names: Collection[str] | None = None
) -> dict[str, list[int]]:
    """Returns size and CRC32C of each source that `read_annotations` would read."""
    return {name: _size_and_checksum(path, file_state(path)) for name, path in _files_of(folder, kinds, names).items()}


def file_state(path: UPath) -> str:
    """Returns the current state of a file in the file system (times, generation), not a cached one.

    Raises:
        AnnotationError: the file does not exist.
    """
    path.fs.invalidate_cache(path.parent.path)
    try:
        return repr(path.fs.info(path.path))
    except FileNotFoundError as error:
        message = f"{path}: was removed while the annotations were read; try again"
        raise AnnotationError(message) from error


@lru_cache(maxsize=1024)
def _size_and_checksum(path: UPath, _state: str) -> list[int]:
    """Of one file in one state; cached, because sensors ask at every tick."""
    entry = describe_file(path, path.name)
    return [entry.n_bytes, entry.crc32c]


def _files_of(folder: UPath, kinds: Collection[str], names: Collection[str] | None) -> dict[str, UPath]:
    """Files that hold one of the kinds; a file with an unknown header is read as pairs, and refused then."""
    wanted = {*kinds, *(["sets"] if "pairs" in kinds else [])}
    files = annotation_files(folder, names).items()
    return {name: path for name, path in files if (source_kind(path) or "pairs") in wanted}


def pairs_within(sets: pl.DataFrame) -> pl.DataFrame:
    """Returns all pairs of members of one set: entity1 < entity2, each once.

    Sets of more than `MAX_SET_MEMBERS` are left out: membership in a set such as "metabolism" is not a relationship,
    and its pairs would outnumber all others.
    """
    sets = sets.filter(pl.len().over("set_id") <= MAX_SET_MEMBERS)
    joined = sets.join(sets, on="set_id", suffix="_2").filter(pl.col("member") < pl.col("member_2"))
    return joined.select(entity1="member", entity2="member_2").unique().sort("entity1", "entity2")
