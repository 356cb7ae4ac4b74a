"""The six stains of Cell Painting as light: the light of each organelle, before the microscope.

Channels in RxRx1's order: nuclei (Hoechst), endoplasmic reticulum (concanavalin A), actin (phalloidin), nucleoli and
cytoplasmic RNA (SYTO 14), mitochondria (MitoTracker), Golgi and plasma membrane (wheat germ agglutinin).

Source: Bray et al. (2016), Cell Painting, Nature Protocols 11:1757, for what each stain shows. The brightness of each
structure was set by eye, so that faint structures are visible in 8 bits and few pixels saturate.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int64

from cellassets.synthetic.cells import Cells, share
from cellassets.synthetic.fields import Plane, draw_fields
from cellassets.synthetic.morphology import Morphology
from cellassets.synthetic.nuisances import N_CHANNELS
from cellassets.synthetic.spots import add_spots
from cellassets.synthetic.textures import N_ORIENTATIONS, Texture, TextureBank, Textures

DNA, ER, ACTIN, RNA, MITO, GOLGI = range(N_CHANNELS)
N_GOLGI_SPOTS = 14
SKIN = np.float32(9.0)  # slope of the light inside a free edge, in 1 / radius
CORTEX = np.float32(6.5)
MEMBRANE = np.float32(11.0)


class Stainer:
    """Paints one site. Each method adds one kind of structure to `light`."""

    def __init__(self, morphology: Morphology, cells: Cells, bank: TextureBank, rng: np.random.Generator) -> None:
        self._look, self._cells, self._bank, self._rng = morphology, cells, bank, rng
        self._fields = draw_fields(cells, bank, rng)
        self._place = self._offsets().ravel()
        self.light = np.zeros((N_CHANNELS, bank.image_size, bank.image_size), np.float32)
        self._body = np.minimum(self._fields.height * SKIN, np.float32(1.0))
        self._cytoplasm = np.float32(1.0) - np.float32(0.7) * self._fields.nucleus

    def paint(self) -> Float32[np.ndarray, "channel y x"]:
        """Returns the light of all six stains, about 1 at bright structures."""
        nucleoli = self._nucleoli()
        self._paint_nuclei(nucleoli)
        self._paint_er_and_rna(nucleoli)
        self._paint_actin()
        self._paint_mitochondria()
        self._paint_golgi()
        return self.light

    def _offsets(self) -> Int64[np.ndarray, "y x"]:
        """Returns each pixel's index in the bank's textures; every cell reads them from its own offset."""
        starts = self._bank.offsets(len(self._cells) + 1, self._rng)
        place = starts.take(self._fields.owner)
        place += self._bank.window.reshape(place.shape)
        return place

    def _per_pixel(self, values: Float64[np.ndarray, " cell"]) -> Plane:
        """Returns the value of each cell at all its pixels, and 0 in the background."""
        return np.concatenate([[0.0], values]).astype(np.float32).take(self._fields.owner)

    def _texture(self, texture: Texture) -> Plane:
        return texture.reshape(-1).take(self._place).reshape(self._body.shape)

    def _oriented(self, textures: Textures, spread: float) -> Plane:
        """Returns an oriented texture along each cell's axis, with a random deviation of `spread` radians."""
        angle = self._cells.orientation + self._rng.normal(0.0, spread, len(self._cells))
        index = np.rint(angle * N_ORIENTATIONS / np.pi).astype(np.int64) % N_ORIENTATIONS
        place = np.concatenate([[0], index * self._bank.size**2]).take(self._fields.owner).ravel()
        place += self._place
        return textures.reshape(-1).take(place).reshape(self._body.shape)

    def _spread(self, periphery: float) -> Plane:
        """Returns the distribution of light: around the nucleus at periphery 0, over the whole cell at 1."""
        height = self._fields.height
        tight = height * height * height
        return np.float32(0.75 * periphery) * np.sqrt(height) + np.float32(2.3 * (1 - periphery)) * tight

    def _nucleoli(self) -> Plane:
        cells, look = self._cells, self._look
        numbers = self._rng.poisson(max(look.n_nucleoli - 1.0, 0.2), len(cells)) + 1
        host = np.repeat(np.arange(len(cells)), np.where(cells.is_mitotic, 0, numbers))
        angle = self._rng.uniform(0.0, 2 * np.pi, len(host))
        reach = 0.62 * cells.nuclear_radius[host] * np.sqrt(self._rng.random(len(host)))
        size = np.exp(self._rng.normal(0.0, 0.25, len(host)))
        sigma = np.maximum(look.nucleolar_radius * cells.nuclear_radius[host] * size, 0.5)
        plane = np.zeros_like(self._body)
        y, x = cells.nuclear_y[host] + reach * np.sin(angle), cells.nuclear_x[host] + reach * np.cos(angle)
        add_spots(plane, y, x, sigma, np.ones(len(host)))
        return np.minimum(plane, np.float32(1.0), out=plane)

    def _paint_nuclei(self, nucleoli: Plane) -> None:
        light = self.light[DNA]
        np.multiply(self._fields.dna, np.float32(1.0) - np.float32(0.35) * nucleoli, out=light)
        light += np.float32(0.06) * self._fields.height  # Hoechst that is not bound

    def _paint_er_and_rna(self, nucleoli: Plane) -> None:
        look, cells, fields = self._look, self._cells, self._fields
        mesh = self._texture(self._bank.reticulum)
        patchy = self._texture(self._bank.cytoplasm)
        round_up = np.where(cells.is_mitotic, 1.5, 1.0)
        body = self._body * self._spread(0.35)
        er = self.light[ER]
        np.multiply(body, self._cytoplasm, out=er)
        er *= np.float32(0.65) + np.float32(0.95) * mesh
        er *= np.float32(0.75) + np.float32(0.5) * patchy
        er *= self._per_pixel(look.er_level * cells.brightness[ER] * round_up)
        rna = self.light[RNA]
        np.multiply(self._body * self._spread(0.5), np.float32(0.8) + np.float32(0.3) * mesh, out=rna)
        rna *= np.float32(0.8)
        rna *= np.float32(1.0) - np.float32(0.25) * fields.nucleus
        rna += np.float32(0.75) * nucleoli * fields.nucleus
        rna *= self._per_pixel(look.rna_level * cells.brightness[RNA] * round_up)

    def _paint_actin(self) -> None:
        look, cells = self._look, self._cells
        edge = np.clip(np.float32(1.0) - CORTEX * self._fields.border_distance, 0.0, 1.0)
        edge *= edge
        patchy = self._texture(self._bank.cytoplasm)
        edge *= np.float32(0.25) + np.float32(1.1) * patchy
        fibres = self._oriented(self._bank.fibres, 0.15)
        fibres *= np.float32(0.3) + np.float32(0.9) * patchy
        light = self.light[ACTIN]
        np.multiply(edge, np.float32(1.05 * look.cortex_level), out=light)
        light += np.float32(0.8 * look.fibre_level) * fibres
        light += np.float32(0.30) * np.sqrt(self._fields.height)
        light *= self._body
        light *= self._per_pixel(cells.brightness[ACTIN] * np.where(cells.is_mitotic, 1.6, 1.0))

    def _paint_mitochondria(self) -> None:
        look, cells = self._look, self._cells
        punctate = share(look.mito_punctate_odds)
        light = self.light[MITO]
        np.multiply(self._oriented(self._bank.filaments, 0.4), np.float32(1.9 * (1 - punctate)), out=light)
        light += np.float32(2.4 * punctate) * self._texture(self._bank.puncta)
        light += np.float32(0.22)
        light *= self._spread(share(look.mito_spread_odds))
        light *= self._cytoplasm
        light *= self._per_pixel(look.mito_level * cells.brightness[MITO])

    def _paint_golgi(self) -> None:
        look, cells = self._look, self._cells
        edge = np.clip(np.float32(1.0) - MEMBRANE * self._fields.border_distance, 0.0, 1.0)
        light = self.light[GOLGI]
        np.multiply(edge, np.float32(0.45), out=light)
        light += np.float32(0.42) * self._fields.height
        light += np.float32(0.20) * self._texture(self._bank.puncta)
        light *= self._body
        light *= self._per_pixel(cells.brightness[GOLGI])
        n = len(cells) * N_GOLGI_SPOTS
        host = np.repeat(np.arange(len(cells)), N_GOLGI_SPOTS)
        side = self._rng.uniform(0.0, 2 * np.pi, len(cells))[host] + self._rng.normal(0.0, 0.50, n)
        reach = cells.nuclear_radius[host] * (1.05 + 0.18 * self._rng.exponential(1.0, n))
        y, x = cells.nuclear_y[host] + reach * np.sin(side), cells.nuclear_x[host] + reach * np.cos(side)
        level = 0.6 * look.golgi_level * cells.brightness[GOLGI][host] * self._rng.uniform(0.3, 1.0, n)
        sigma = np.maximum(0.115 * cells.nuclear_radius[host] * self._rng.uniform(0.6, 1.4, n), 0.6)
        add_spots(light, y, x, sigma, np.where(cells.is_mitotic[host], 0.2, 1.0) * level)
