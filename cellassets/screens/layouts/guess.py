"""Proposes the layout of a folder that no layout recognises, from the names of its images, for `screen init`.

A shipped layout is proposed where its templates fit the images and only the plate map is missing. Otherwise a template
is guessed: `name_marks.py` finds fields by the marks that microscopes put before them, and `name_columns.py` says what
the rest of the names means. A proposal is a beginning for a person to check, and names what does not fit it.
"""

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from upath import UPath

from cellassets.errors import LayoutError
from cellassets.screens.landed import ImageFile
from cellassets.screens.landing import PLATE_MAP
from cellassets.screens.layouts.choose import shipped_layouts
from cellassets.screens.layouts.definition import ImageFiles, ImagePlates, Layout
from cellassets.screens.layouts.folders import walk_files
from cellassets.screens.layouts.images import Finder
from cellassets.screens.layouts.name_columns import is_key, plate_field, template_of
from cellassets.screens.layouts.name_marks import Parts, cut_path, shape_of
from cellassets.screens.layouts.proposal import THUMBNAILS, Proposal

ENDINGS = (".png", ".tif", ".tiff", ".jp2", ".j2k")
OPTIONAL = ("z", "time", "channel")  # marks that can be parts of words, such as of the stain P53
MIN_FITTING_FRAC = 0.8  # of the images, for a shipped layout to be proposed
USUAL_FRAC = 0.97
PLATE = re.compile(r"\{plate(?::[^{}]*)?\}")
N_EXAMPLES = 3


def propose_layout(landing: UPath, experiment_id: str) -> Proposal:
    """Returns the shipped layout that the images fit, or else a guessed one.

    Raises:
        LayoutError: there is no image, there is no well in the names, or there are several time points.
    """
    known = (layout.declared for layout in shipped_layouts().values() if layout.declared.refusal is None)
    found = (_fitted(landing, experiment_id, declared) for declared in known)
    return next((proposal for proposal in found if proposal is not None), None) or guess_layout(landing, experiment_id)


def guess_layout(landing: UPath, experiment_id: str) -> Proposal:
    """Returns a layout of its own that most images of a folder fit.

    Raises:
        LayoutError: there is no image, there is no well in the names, or there are several time points.
    """
    folder = landing / experiment_id
    found = _image_files(folder)
    paths = [path for path in found if "thumb" not in path.lower()]
    if not paths:
        message = f"{folder}: no image ({', '.join(ENDINGS)}) and no OME-Zarr plate in it; copy the images"
        raise LayoutError(message)
    template = template_of(_fitting(folder, paths))
    n_pages = 1 if "{channel" in template else _pages_of(folder / paths[0])
    proposal = Proposal((template,), (), (), 0, 0, len(paths), n_pages=n_pages, has_thumbnails=len(paths) < len(found))
    images = Finder(landing, experiment_id, _layout_of(proposal)).find().images
    return _completed(proposal, images, paths)


def _fitting(folder: UPath, paths: Sequence[str]) -> list[Parts]:
    """Returns the names with the usual fields, cut into them; a mark that few names have is not looked for."""
    best: list[Parts] = []
    for ignored in (frozenset[str](), *({field} for field in OPTIONAL), frozenset(OPTIONAL)):
        cut = [cut_path(path, ignored) for path in paths]
        shapes = Counter(map(shape_of, cut))
        usual = next((shape for shape, _ in shapes.most_common() if "well" in shape or "row" in shape), None)
        fitting = [parts for parts in cut if shape_of(parts) == usual]
        if len(fitting) > len(best):
            best = fitting
        if len(best) >= USUAL_FRAC * len(paths):
            break
    if not best:
        message = (
            f"{folder}: no well in the names of its images, such as {paths[0]}; expected a well like B07 or r02c07 in "
            "them. Write experiment.yaml yourself, or give the images such names"
        )
        raise LayoutError(message)
    return best


def _fitted(landing: UPath, experiment_id: str, layout: Layout) -> Proposal | None:
    """Returns a proposal of a shipped layout with a plate map; None if the images do not fit it."""
    if PLATE_MAP not in layout.metadata.tables[0].path or not isinstance(layout.images, ImageFiles | ImagePlates):
        return None
    images = Finder(landing, experiment_id, layout).find().images
    if not images:
        return None
    is_zarr = isinstance(layout.images, ImagePlates)
    paths = [] if is_zarr else _unignored(_image_files(landing / experiment_id), layout.ignored_files)
    templates = (layout.images.zarr,) if isinstance(layout.images, ImagePlates) else layout.images.path
    proposal = Proposal(templates, (), (), 0, 0, len(paths), layout=layout.name)
    if not all(is_key(plate) for plate in {image.plate_id for image in images}):
        proposal, images = _renamed(landing, experiment_id, layout, proposal, images)
    if is_zarr:
        images = sorted(images, key=lambda image: int(re.findall(r"c (\d+)|$", image.part or "")[0] or 0))
        return replace(
            _completed(proposal, images, []), channels=tuple(dict.fromkeys(image.channel_key for image in images))
        )
    proposal = _completed(proposal, images, paths)
    return proposal if proposal.n_files >= MIN_FITTING_FRAC * proposal.n_found else None


def _renamed(
    landing: UPath, experiment_id: str, layout: Layout, proposal: Proposal, images: list[ImageFile]
) -> tuple[Proposal, list[ImageFile]]:
    """Returns the proposal with templates that keep a valid identifier of each plate, and its images."""
    before, field, after = plate_field([image.plate_id for image in images]).partition("{plate}")
    if not field or not (before or after):
        return proposal, images
    paths = tuple(PLATE.sub(lambda found: before + found[0] + after, path, count=1) for path in proposal.paths)
    changed = replace(proposal, paths=paths, is_changed=True)
    declared = {**layout.model_dump(exclude_unset=True), "images": changed.images()}
    return changed, Finder(landing, experiment_id, Layout.model_validate(declared)).find().images


def _completed(proposal: Proposal, images: Sequence[ImageFile], paths: Sequence[str]) -> Proposal:
    """Returns the proposal with what its templates say of the images."""
    fits = {image.path for image in images}
    planes = Counter(
        place[:4] for place in {(i.plate_id, i.well_id, i.site_index, i.channel_key, i.z_index) for i in images}
    )
    return replace(
        proposal,
        channels=tuple(sorted({image.channel_key for image in images}, key=lambda key: (len(key), key))),
        wells=tuple(sorted({(image.plate_id, image.well_id) for image in images})),
        n_images=len(images),
        n_files=len(fits & set(paths)),
        others=tuple(path for path in paths if path not in fits)[:N_EXAMPLES],
        clash=_clash(images),
        n_planes=max(planes.values(), default=1),
    )


def _clash(images: Iterable[ImageFile]) -> tuple[str, str] | None:
    """Returns two images that are the same plate, well, site, channel and plane."""
    first: dict[tuple[str, str, int, str, int | None], str] = {}
    for image in images:
        place = (image.plate_id, image.well_id, image.site_index, image.channel_key, image.z_index)
        other = first.setdefault(place, image.shown_path)
        if other != image.shown_path:
            return other, image.shown_path
    return None


def _image_files(folder: UPath) -> list[str]:
    others: list[tuple[str, str]] = []
    return [path for path in walk_files(folder, others) if path.lower().endswith(ENDINGS)]


def _unignored(paths: Sequence[str], ignored: Sequence[str]) -> list[str]:
    return [path for path in paths if not any(fnmatch.fnmatchcase(path, pattern) for pattern in ignored)]


def _pages_of(path: UPath) -> int:
    import tifffile

    try:
        with path.open("rb") as stream, tifffile.TiffFile(stream) as tiff:
            return len(tiff.pages)
    except (tifffile.TiffFileError, ValueError):
        return 1


def _layout_of(proposal: Proposal) -> Layout:
    """Returns a proposal as a layout that can find images; its metadata are not meant to be read."""
    n_pages = proposal.n_pages
    values: Mapping[str, Any] = {
        "name": "guess",
        "images": proposal.images(),
        "ignored_files": [THUMBNAILS],
        "channels": [{"key": str(n + 1), "name": f"channel {n + 1}"} for n in range(n_pages)] if n_pages > 1 else None,
        "metadata": {
            "tables": [{"path": PLATE_MAP}],
            "terms": {term: {"value": "x"} for term in ("well_id", "cell_type", "perturbation_id")},
        },
    }
    return Layout.model_validate(values)
