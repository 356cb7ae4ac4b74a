"""Cuts the path of an image into fields and the text between them, by the marks that microscopes put before numbers.

Such a mark is `_s2` for a site or `ch3` for a channel. What the text between the fields means is decided in
`name_columns.py`, which compares many paths. Nothing is read here.
"""

import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

GUID = "[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}"  # as ImageXpress adds
STAIN = re.compile(
    r"(?i:dapi|hoechst|dna|nucle(?:i|us)|er|rna|agp|mito\w*|actin|golgi|tubulin|gfp|rfp|yfp|cfp|mcherry|cy\d|fitc|tritc|"
    r"tx?red|texas ?red|alexa(?: ?fluor)? ?\d*|bf|brightfield)"
)
BEFORE = r"(?:(?<=[-_. 0-9])|^)"
# in this order, so that a well is not taken for a channel
MARKS: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (fields, re.compile(mark))
    for fields, mark in (
        (("row", "column"), r"(?i:r)(\d{1,2})[-_]?(?i:c)(\d{1,2})"),
        (("well",), r"(?<![A-Za-z0-9])([A-Pa-p]\d{2}|A[A-F]\d{2})(?!\d)"),
        (("well",), r"(?<![A-Za-z0-9])([A-Pa-p]\d{1,2})(?!\d)"),
        (("site",), BEFORE + r"(?i:site|field|fov|s|f)[-_ ]?(\d{1,4})"),
        (("channel",), BEFORE + rf"(?i:w)(\d)(?={GUID})"),
        (("channel",), BEFORE + r"(?i:channel|wave|ch|w|c)[-_ ]?(\d{1,2})"),
        (("z",), BEFORE + r"(?i:plane|z|p)[-_ ]?(\d{1,3})"),
        (("time",), BEFORE + r"(?i:time|t|sk)[-_ ]?(\d{1,4})"),
    )
)
WELL_FOLDER = re.compile(r"[A-Pa-p]\d{1,2}|A[A-F]\d{2}")
PLATE_FOLDER = re.compile(r"(?i)plate")
OTHER_FOLDER = re.compile(rf"{STAIN.pattern}|(?i:images|(?:time(?:point)?|z|z[-_ ]?step|plane)[-_ ]?\d+)")
FREE, SLASH, ENDING = "", "/", "."  # pseudo-fields: text between fields, the end of a folder, and a file's ending
Parts = tuple[tuple[str, str], ...]


def cut_path(path: str, ignored: AbstractSet[str] = frozenset()) -> Parts:
    """Returns (field, text) pairs that make up a path. Between two fields of a name there is always a FREE one.

    Args:
        path: path below the experiment's folder.
        ignored: fields whose marks are not looked for.
    """
    *folders, name = path.split("/")
    stem, dot, ending = name.rpartition(".")
    level = plate_level(folders)
    seen = set(ignored)
    spans = _spans(stem, seen, has_plate=level is not None)
    parts: list[tuple[str, str]] = []
    for number, folder in enumerate(folders):
        is_well = not seen & {"well", "row"} and WELL_FOLDER.fullmatch(folder) is not None
        field = "plate" if number == level else "well" if is_well else FREE
        seen.add(field)
        parts += [(field, folder), (SLASH, "/")]
    if level is None and spans and spans[0][0] > 1 and spans[0][2] in ("well", "row"):
        spans.insert(0, (0, spans[0][0] - 1, "plate"))
    position = 0
    for start, end, field in spans:
        parts += [(FREE, stem[position:start]), (field, stem[start:end])]
        position = end
    return (*parts, (FREE, stem[position:]), (ENDING, dot + ending))


def shape_of(parts: Parts) -> tuple[str, ...]:
    """Returns the fields of a path that was cut, in order."""
    return tuple(field for field, _ in parts)


def plate_level(folders: Sequence[str]) -> int | None:
    """Returns which of the folders of a path names the plate; None if none does."""
    named = next((level for level, folder in enumerate(folders) if PLATE_FOLDER.search(folder)), None)
    if named is not None:
        return named
    return next((level for level, folder in enumerate(folders) if OTHER_FOLDER.fullmatch(folder) is None), None)


def _spans(stem: str, seen: set[str], *, has_plate: bool) -> list[tuple[int, int, str]]:
    """Returns begin, end and field of what marks find in a file's name, in order.

    Without a plate's folder, what is before the well is the name of the plate, and no mark is looked for in it.
    """
    found: list[tuple[int, int, str]] = []
    for fields, mark in MARKS:
        if seen & set(fields) or ("well" in fields and "row" in seen):
            continue
        begin_at = 0 if has_plate else min((start for start, _, _ in found), default=0)
        for match in mark.finditer(stem, begin_at):
            groups = [match.span(number) for number in range(1, len(fields) + 1)]
            if not any(start < end_ and begin < end for start, end in groups for begin, end_, _ in found):
                found += [(start, end, field) for field, (start, end) in zip(fields, groups, strict=True)]
                seen |= set(fields)
                break
    return sorted(found)
