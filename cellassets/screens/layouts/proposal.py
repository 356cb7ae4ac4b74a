"""A proposed layout of a folder: what is written into it for a person to check, and what is wrong with the proposal.

`guess.py` makes proposals. Nothing is read or written here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from cellassets.screens.imaging import DNA_STAIN
from cellassets.screens.landing import PLATE_MAP
from cellassets.screens.layouts.name_columns import is_key

TERMS = ("perturbation_id", "perturbation_kind", "gene_symbol", "compound_id", "concentration_um", "control_kind")
THUMBNAILS = "*[Tt]humb*"
MAX_UNFIT_FRAC = 0.03  # stray pictures beside the images


@dataclass(frozen=True)
class Proposal:
    """A proposed layout.

    Attributes:
        paths: templates of the images' paths; of the plates' paths for OME-Zarr.
        channels: keys of the channels.
        wells: plate and well of every image, once each.
        n_images: images that fit the templates.
        n_files: image files that fit.
        n_found: image files that are there.
        others: some of the files that do not fit.
        clash: two images that are the same plate, well, site, channel and plane by the templates, or None.
        n_planes: planes of a site, at most.
        n_pages: pages of the first image, where the names have no channel.
        has_thumbnails: whether there are files called thumbnails, which are not images.
        layout: name of the shipped layout that fits; None: the templates were guessed.
        is_changed: whether the templates are other ones than those of the shipped layout.
    """

    paths: tuple[str, ...]
    channels: tuple[str, ...]
    wells: tuple[tuple[str, str], ...]
    n_images: int
    n_files: int
    n_found: int
    others: tuple[str, ...] = ()
    clash: tuple[str, str] | None = None
    n_planes: int = 1
    n_pages: int = 1
    has_thumbnails: bool = False
    layout: str | None = None
    is_changed: bool = False

    @property
    def fits(self) -> str:
        """What the images fit, for people."""
        return self.paths[0] if self.layout is None else f"the layout {self.layout}"

    def warnings(self) -> list[str]:
        """Returns what a person should know and what does not make the proposal wrong."""
        return [self._unfit()] if self.others and not self._is_unfit else []

    def problems(self) -> list[str]:
        """Returns what is wrong with the proposal and must be corrected by a person."""
        found = [self._unfit() + "; correct images.path in experiment.yaml"] if self._is_unfit else []
        if self.clash is not None:
            first, second = self.clash
            found.append(
                f"{first} and {second} would be one image: the same plate, well, site, channel and plane; put "
                "{channel} or {z} where the names differ, in images.path of experiment.yaml"
            )
        plate = next((plate for plate, _ in self.wells if not is_key(plate)), None)
        if plate is not None:
            found.append(
                f"{plate!r} cannot be the name of a plate: use letters, digits, '_', '-' and single '.' only; put the "
                "constant text into images.path of experiment.yaml, as in Plate {plate}/..., or rename the folders"
            )
        return found

    def experiment_yaml(self) -> str:
        """Returns the content of `experiment.yaml`, with comments that say what to check."""
        lines = [
            "# Written by `cellassets screen init` from the names of the images. Check every line; then run",
            "# `cellassets screen check`. docs/your-own-screen.md explains the keys.",
            *([] if self.layout is None else [f"layout: {self.layout}"]),
            *([_dumped({"images": self.images()})] if self.layout is None or self.is_changed else []),
            "channels:  # in the order of the store; name each after its stain, and mark the one of DNA",
            *self._channel_lines(),
            *(
                ["z_projection: maximum  # or mean, or middle: makes one image of the planes"]
                if self.n_planes > 1
                else []
            ),
            "pixel_size_um: null  # width of a pixel; without it, sizes of nuclei are estimated",
        ]
        return "\n".join([*lines, *(self._metadata_lines() if self.layout is None else [])]) + "\n"

    def plate_map(self) -> str:
        """Returns a plate map with a line for every well, to be filled in."""
        header = ",".join(("plate", "well", "cell_type", *TERMS))
        rows = [f"{_cell(plate)},{well},,,,,,,treatment" for plate, well in self.wells]
        return "\n".join([header, *rows]) + "\n"

    def images(self) -> Mapping[str, Any]:
        """Returns the declaration of the images, as `experiment.yaml` has it."""
        if self.layout == "ome-zarr":
            return {"zarr": self.paths[0]}
        path = self.paths[0] if len(self.paths) == 1 else list(self.paths)
        return {"path": path, "pages": "channel"} if self.n_pages > 1 else {"path": path}

    @property
    def _is_unfit(self) -> bool:
        return self.n_found - self.n_files > MAX_UNFIT_FRAC * self.n_found

    def _unfit(self) -> str:
        n_others = self.n_found - self.n_files
        return (
            f"{n_others} of {self.n_found} images do not fit and would be ignored, such as {', '.join(self.others)}: "
            f"expected {' or '.join(self.paths)}"
        )

    def _channel_lines(self) -> list[str]:
        stains = [key for key in self.channels if DNA_STAIN.search(key)]
        lines = []
        for number, key in enumerate(self.channels, start=1):
            is_dna = key in stains[:1] or (not stains and number == 1)
            note = "  # is it?" if is_dna and not stains else ""
            named = {"key": key, "name": f"channel {key}" if key.isdigit() else key}
            entry = yaml.safe_dump(named, default_flow_style=True, width=1000, allow_unicode=True).strip()[:-1]
            lines.append(f"  - {entry}{', is_dna: true' if is_dna else ''}}}{note}")
        return lines

    def _metadata_lines(self) -> list[str]:
        return [
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


def _dumped(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, width=1000, allow_unicode=True).rstrip()


def _cell(text: str) -> str:
    """Returns a cell of a CSV file."""
    return '"' + text.replace('"', '""') + '"' if any(character in text for character in ',"') else text
