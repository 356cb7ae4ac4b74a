"""Guesses the layout of a folder that no layout recognises, from the names of its images. `screen init` writes it down.

A guess is a beginning for a person to check. Fields are found by the marks that microscopes put before them, such as
`_s2` for a site or `ch3` for a channel.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from upath import UPath

from cellassets.errors import LayoutError
from cellassets.screens.imaging import DNA_STAIN
from cellassets.screens.landed import ImageFile
from cellassets.screens.layouts.definition import Layout
from cellassets.screens.layouts.folders import walk_files
from cellassets.screens.layouts.images import Finder

ENDINGS = (".png", ".tif", ".tiff", ".jp2", ".j2k")
STAINS = "dapi|hoechst|dna|er|rna|agp|mito|actin|golgi|tubulin|gfp|rfp|yfp|cfp|cy3|cy5|fitc|tritc|bf|brightfield"
GUID = "[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}"  # as ImageXpress adds
BEFORE = r"(?:(?<=[-_. 0-9])|^)"
# in this order, so that a well is not taken for a channel
MARKS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("row", "column"), r"(?i:r)(\d{1,2})[-_]?(?i:c)(\d{1,2})"),
    (("well",), r"(?<![A-Za-z0-9])([A-Pa-p]\d{2}|A[A-F]\d{2})(?!\d)"),
    (("well",), r"(?<![A-Za-z0-9])([A-Pa-p]\d{1,2})(?!\d)"),
    (("site",), BEFORE + r"(?i:site|field|fov|s|f)[-_]?(\d{1,4})"),
    (("channel",), BEFORE + rf"(?i:w)(\d)(?={GUID})"),
    (("channel",), BEFORE + r"(?i:channel|wave|ch|w|c)[-_]?(\d{1,2})"),
    (("channel",), rf"(?i)(?<![a-z])({STAINS})(?![a-z])"),
    (("z",), BEFORE + r"(?i:plane|z|p)[-_]?(\d{1,3})"),
    (("time",), BEFORE + r"(?i:time|t|sk)[-_]?(\d{1,4})"),
)
TERMS = ("perturbation_id", "perturbation_kind", "gene_symbol", "compound_id", "concentration_um", "control_kind")
PLATE_MAP = "plate_map.csv"
THUMBNAILS = "*[Tt]humb*"
NUMBER = "number"  # a number without a mark


@dataclass(frozen=True)
class Guess:
    """A guessed layout.

    Attributes:
        template: template of the images' paths.
        channels: keys of the channels.
        wells: plate and well of every image, once each.
        n_pages: pages of the first image, where the names have no channel.
        has_thumbnails: whether there are files called thumbnails, which are not images.
        n_images: images that fit the template.
        others: some of the files that do not.
    """

    template: str
    channels: tuple[str, ...]
    wells: tuple[tuple[str, str], ...]
    n_pages: int
    has_thumbnails: bool
    n_images: int
    others: tuple[str, ...]

    def experiment_yaml(self) -> str:
        """Returns the content of `experiment.yaml`, with comments that say what to check."""
        stains = [name for name in self.channels if DNA_STAIN.search(name)]
        lines = [
            "# Written by `cellassets screen init` from the names of the images. Check every line; then run",
            "# `cellassets screen check`. docs/your-own-screen.md explains the keys.",
            yaml.safe_dump({"images": _declared(self.template, self.n_pages)}, sort_keys=False, width=1000).rstrip(),
            "channels:  # in the order of the store; name each after its stain, and mark the one of DNA",
        ]
        for number, key in enumerate(self.channels, start=1):
            name = f"channel {key}" if key.isdigit() else key
            is_dna = key in stains[:1] or (not stains and number == 1)
            note = "  # is it?" if is_dna and not stains else ""
            entry = yaml.safe_dump({"key": key, "name": name}, default_flow_style=True, width=1000).strip()[:-1]
            lines.append(f"  - {entry}{', is_dna: true' if is_dna else ''}}}{note}")
        lines += [
            "pixel_size_um: null  # width of a pixel; without it, sizes of nuclei are estimated",
            *([f"ignored_files: ['{THUMBNAILS}']"] if self.has_thumbnails else []),
            "metadata:",
            "  tables:",
            f"    - path: {PLATE_MAP}",
            "  terms:",
            "    plate_id: plate",
            "    well_id: well",
            "    cell_type: cell_type",
            *(f"    {term}: {term}" for term in TERMS if term != "control_kind"),
            "    control_kind:",
            "      column: control_kind",
            "      values: {treatment: null, negative: negative, positive: positive, untreated: untreated}",
        ]
        return "\n".join(lines) + "\n"

    def plate_map(self) -> str:
        """Returns a plate map with a line for every well, to be filled in."""
        header = ",".join(("plate", "well", "cell_type", *TERMS))
        rows = [f"{plate},{well},,,,,,,treatment" for plate, well in self.wells]
        return "\n".join([header, *rows]) + "\n"


def guess_layout(landing: UPath, experiment_id: str) -> Guess:
    """Returns a layout that most images of a folder fit.

    Raises:
        LayoutError: there is no image, or no well in the names.
    """
    folder = landing / experiment_id
    others: list[tuple[str, str]] = []
    found = [path for path in walk_files(folder, others) if path.lower().endswith(ENDINGS)]
    paths = [path for path in found if "thumb" not in path.lower()]
    if not paths:
        message = f"{folder}: no image ({', '.join(ENDINGS)}) in it; an OME-Zarr plate needs a {PLATE_MAP} only"
        raise LayoutError(message)
    parsed = [(path, tuple(_parse(path))) for path in paths]
    shapes = Counter(tuple(field for field, _ in parts if field not in ("", NUMBER)) for _, parts in parsed)
    usual = next((shape for shape, _ in shapes.most_common() if "well" in shape or "row" in shape), None)
    if usual is None:
        message = (
            f"{folder}: no well in the names of its images, such as {paths[0]}; expected a well like B07 or r02c07 in "
            "them. Write experiment.yaml yourself, or give the images such names"
        )
        raise LayoutError(message)
    fitting = [parts for _, parts in parsed if tuple(field for field, _ in parts if field not in ("", NUMBER)) == usual]
    template = _template(fitting)
    n_pages = 1 if "{channel" in template else _pages_of(folder / next(path for path, _ in parsed))
    images = _images(landing, experiment_id, template, n_pages)
    fits = {image.path for image in images}
    return Guess(
        template=template,
        channels=tuple(sorted({image.channel_key for image in images}, key=lambda key: (len(key), key))),
        wells=tuple(sorted({(image.plate_id, image.well_id) for image in images})),
        n_pages=n_pages,
        has_thumbnails=len(paths) < len(found),
        n_images=len(images),
        others=tuple(path for path in paths if path not in fits)[:3],
    )


def _parse(path: str) -> Iterator[tuple[str, str]]:
    """Yields (field, text) pairs that make up a path; the field is empty for text between fields."""
    *folders, name = path.split("/")
    seen: set[str] = set()
    spans = _spans(name, seen, has_folders=bool(folders))
    for number, folder in enumerate(folders):
        if number == 0:
            yield "plate", folder
        elif "well" not in seen and "row" not in seen and re.fullmatch(r"[A-Pa-p]\d{1,2}|A[A-F]\d{2}", folder):
            seen.add("well")
            yield "well", folder
        else:
            yield "", folder
        yield "", "/"
    if not folders and spans and spans[0][0] > 1 and spans[0][2] in ("well", "row"):
        end = spans[0][0] - 1
        spans.insert(0, (0, end, "plate"))
    position = 0
    for start, end, field in spans:
        yield from _numbers(name[position:start])
        yield field, name[start:end]
        position = end
    yield from _numbers(name[position:])


def _numbers(text: str) -> Iterator[tuple[str, str]]:
    """Yields the text and the numbers between two fields."""
    stem, dot, ending = text.rpartition(".")
    for part in re.split(rf"({GUID}|\d+)", stem if dot else text):
        yield NUMBER if part.isdigit() else "", part
    yield "", dot + ending if dot else ""


def _spans(name: str, seen: set[str], *, has_folders: bool) -> list[tuple[int, int, str]]:
    """Returns begin, end and field of what marks find in a file's name, in order.

    Without folders, what is before the well is the name of the plate, and no mark is looked for in it.
    """
    found: list[tuple[int, int, str]] = []
    stem = name.rpartition(".")[0]
    for fields, mark in MARKS:
        if seen & set(fields) or ("well" in fields and "row" in seen):
            continue
        begin_at = 0 if has_folders else min((start for start, _, _ in found), default=0)
        for match in re.compile(mark).finditer(stem, begin_at):
            groups = [match.span(number) for number in range(1, len(fields) + 1)]
            if not any(start < end_ and begin < end for start, end in groups for begin, end_, _ in found):
                found += [(start, end, field) for field, (start, end) in zip(fields, groups, strict=True)]
                seen |= set(fields)
                break
    return sorted(found)


def _template(fitting: Sequence[tuple[tuple[str, str], ...]]) -> str:
    """Returns the template of paths with equal fields; text that differs between them becomes `*`.

    Where no mark says which number is the site, it is the first one that differs between images of one channel.
    """
    n_parts = Counter(len(parts) for parts in fitting).most_common(1)[0][0]
    columns = list(zip(*(parts for parts in fitting if len(parts) == n_parts), strict=True))
    fields = [column[0][0] for column in columns]
    channels = [text for _, text in columns[fields.index("channel")]] if "channel" in fields else None
    has_site, texts = "site" in fields, []
    for field, column in zip(fields, columns, strict=True):
        values = [text for _, text in column]
        if field == NUMBER and len(set(values)) > 1 and not has_site and not _follows(values, channels):
            has_site = True
            texts.append("{site}")
        elif field in ("", NUMBER):
            texts.append(values[0] if len(set(values)) == 1 else "*")
        elif field == "channel" and not all(value.isdigit() for value in values):
            texts.append(f"{{channel:{'|'.join(sorted(set(values)))}}}")
        elif field == "channel" and len({len(value) for value in values}) == 1:  # digits of other numbers can follow
            texts.append(f"{{channel:[0-9]{{{len(values[0])}}}}}")
        else:
            texts.append(f"{{{field}}}")
    template = re.sub(r"\*+", "*", "".join(texts))
    return re.sub(r"\{channel:\[0-9\]\{\d+\}\}(?!\*)", "{channel}", template).replace("[0-9]{1}", "[0-9]")


def _follows(values: Sequence[str], channels: Sequence[str] | None) -> bool:
    """Returns true if a number says the same as the channel."""
    return channels is not None and len(set(zip(channels, values, strict=True))) == len(set(channels))


def _declared(template: str, n_pages: int) -> dict[str, str]:
    return {"path": template, "pages": "channel"} if n_pages > 1 else {"path": template}


def _pages_of(path: UPath) -> int:
    import tifffile

    try:
        with path.open("rb") as stream, tifffile.TiffFile(stream) as tiff:
            return len(tiff.pages)
    except (tifffile.TiffFileError, ValueError):
        return 1


def _images(landing: UPath, experiment_id: str, template: str, n_pages: int) -> list[ImageFile]:
    values: Mapping[str, Any] = {
        "name": "guess",
        "images": _declared(template, n_pages),
        "ignored_files": [THUMBNAILS],
        "channels": [{"key": str(n + 1), "name": f"channel {n + 1}"} for n in range(n_pages)] if n_pages > 1 else None,
        "metadata": {
            "tables": [{"path": PLATE_MAP}],
            "terms": {term: {"value": "x"} for term in ("well_id", "cell_type", "perturbation_id")},
        },
    }
    return Finder(landing, experiment_id, Layout.model_validate(values)).find().images
