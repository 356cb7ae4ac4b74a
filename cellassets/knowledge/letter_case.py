"""Names that differ in letter case alone: `Tp53` of an annotation file is not `TP53` of a map, and is said so."""

from collections.abc import Collection


def in_other_case(annotated: Collection[str], names: Collection[str]) -> dict[str, str]:
    """Returns annotated names that are among `names` in another letter case only, and what they are called there.

    They are not translated: in some nomenclatures the case distinguishes species (human TP53, mouse Trp53).

    Args:
        annotated: names of an annotation source.
        names: names of a map.
    """
    known = set(names)
    by_folded = {name.casefold(): name for name in known}
    return {name: by_folded[name.casefold()] for name in sorted(set(annotated) - known) if name.casefold() in by_folded}


def other_case_note(annotated: Collection[str], names: Collection[str]) -> str:
    """Returns the end of a message about names in another letter case; empty where there are none.

    Args:
        annotated: names of an annotation source.
        names: names of a map.
    """
    found = in_other_case(annotated, names)
    if not found:
        return ""
    first, there = next(iter(found.items()))
    return f"; {len(found)} names differ in letter case alone, such as {first!r} from the map's {there!r}: rename them"
