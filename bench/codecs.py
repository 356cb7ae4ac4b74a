"""What packing a site costs beside decoding its source, for 8, 12 and 16 bits; and compressions of the store compared.

Everything runs in one thread and is measured in CPU time, so other work on the machine changes little. First table:
ratio of size, encoding and decoding speed of Blosc's compressions. Second table: for lossless source formats, the time
to decode one site, the time of statistics and compression after it, and the share that decoding has in both. Prints
JSON and writes it to bench/results/codecs.json.
"""

import io
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile

from cellassets.images.spec import PlateSpec, encode_site, frame_buffer
from cellassets.images.writer import channel_statistics
from cellassets.synthetic.biology import plant_biology
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import experiment_wells
from cellassets.synthetic.site import render_site

RESULT = Path(__file__).parent / "results" / "codecs.json"
N_SITES, IMAGE_SIZE, N_ROUNDS = 6, 512, 7
COMPRESSIONS = [
    ("lz4", "bitshuffle", 0),
    ("lz4", "noshuffle", 1),
    ("lz4", "shuffle", 1),
    ("lz4", "bitshuffle", 1),
    ("lz4", "bitshuffle", 5),
    ("blosclz", "bitshuffle", 1),
    ("snappy", "bitshuffle", 1),
    ("zstd", "bitshuffle", 1),
]


def cpu_s(work: Callable[[], object]) -> float:
    """Returns the median CPU time of one call; the first call is not counted."""
    taken = []
    for _ in range(N_ROUNDS + 1):
        started = time.thread_time()
        work()
        taken.append(time.thread_time() - started)
    return statistics.median(taken[1:])


def cell_images() -> dict[str, np.ndarray]:
    """Returns simulated sites of 8 bits, and the same with the noise of cameras of 12 and 16 bits."""
    design = demo_design(image_size=IMAGE_SIZE)
    wells = experiment_wells(design, plant_biology(design), next(iter(design.experiments)))[:N_SITES]
    sites = np.stack([render_site(design, well, 1) for well in wells])
    rng = np.random.default_rng(0)

    def deeper(gain: float, noise: float, top: int) -> np.ndarray:
        levels = gain * sites + rng.normal(0, noise, sites.shape)
        return np.clip(levels, 0, top).astype(np.uint16)

    return {"8 bit": sites, "12 bit": deeper(16, 6, 4095), "16 bit": deeper(200, 60, 65535)}


def compression(sites: np.ndarray, name: str, shuffle: str, level: int) -> dict[str, Any]:
    """Returns ratio and speeds of one compression."""
    options = {"compressor": name, "shuffle": shuffle, "level": level, "typesize": sites.itemsize, "numthreads": 1}
    memory = np.empty(sites[0].nbytes + 16, np.uint8)
    frames = [imagecodecs.blosc_encode(site, **options) for site in sites]
    encode_s = cpu_s(lambda: [imagecodecs.blosc_encode(site, out=memory, **options) for site in sites])
    decode_s = cpu_s(lambda: [imagecodecs.blosc_decode(frame, out=memory[:-16], numthreads=1) for frame in frames])
    return {
        "compression": f"{name}, {shuffle}, level {level}",
        "ratio": round(sites.nbytes / sum(map(len, frames)), 2),
        "encode_mb_per_s": round(sites.nbytes / encode_s / 1e6),
        "decode_mb_per_s": round(sites.nbytes / decode_s / 1e6),
    }


def tiff_file(image: np.ndarray, how: str | None) -> bytes:
    """Returns an image as a TIFF file."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, image, compression=how, predictor=how is not None)
    return stream.getvalue()


FORMATS: dict[str, tuple[Callable[[np.ndarray], bytes], Callable[[bytes], object]]] = {
    "PNG": (imagecodecs.png_encode, imagecodecs.png_decode),
    "TIFF, not compressed": (lambda image: tiff_file(image, None), lambda file: tifffile.imread(io.BytesIO(file))),
    "TIFF, LZW": (lambda image: tiff_file(image, "lzw"), lambda file: tifffile.imread(io.BytesIO(file))),
    "TIFF, deflate": (lambda image: tiff_file(image, "zlib"), lambda file: tifffile.imread(io.BytesIO(file))),
    "JPEG 2000": (lambda image: imagecodecs.jpeg2k_encode(image, level=0), imagecodecs.jpeg2k_decode),
}


def source_format(sites: np.ndarray, name: str, level: int) -> dict[str, Any]:
    """Returns what decoding a site of a format costs, and what statistics and compression cost after it."""
    write, read = FORMATS[name]
    files = [[write(channel) for channel in site] for site in sites]
    n_channels, height, width = sites[0].shape
    spec = PlateSpec(
        plate_id="P",
        n_sites=len(sites),
        n_channels=n_channels,
        height=height,
        width=width,
        dtype=str(sites.dtype),
        shard_sites=len(sites),
    )
    memory = frame_buffer(spec)
    decode_s = cpu_s(lambda: [read(file) for site in files for file in site]) / len(sites)
    after_s = cpu_s(lambda: [(channel_statistics(site), encode_site(site, level, memory)) for site in sites]) / len(
        sites
    )
    n_bytes = sum(len(file) for site in files for file in site)
    return {
        "format": name,
        "level": level,
        "ratio": round(sites.nbytes / n_bytes, 2),
        "decode_ms_per_site": round(1000 * decode_s, 1),
        "statistics_and_compression_ms_per_site": round(1000 * after_s, 1),
        "decode_to_all": round(decode_s / (decode_s + after_s), 2),
    }


def both(sites: np.ndarray, levels: Sequence[int] = (1, 0)) -> dict[str, Any]:
    """Returns both tables for images of one depth."""
    return {
        "compressions": [compression(sites, *chosen) for chosen in COMPRESSIONS],
        "sources": [source_format(sites, name, level) for name in FORMATS for level in levels],
    }


def main() -> None:
    """Measures, prints and writes the result file."""
    shape = {"n_sites": N_SITES, "n_channels": 6, "image_size": IMAGE_SIZE}
    result = {**shape, **{depth: both(sites) for depth, sites in cell_images().items()}}
    text = json.dumps(result, indent=1)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
