"""Training batches by our loader, compared with the bare read of the store and with a torch `Dataset` over PNG files.

All three use two threads or two worker processes, the same sites in the same order and the same crops, turns and flips.

- `loader`: `TrainBatches` that reads every batch from the store: decode, check, crop, turn, flip.
- `bare_read`: the same batches of sites read from the store, nothing else. `loader_to_bare_read` is 1 at best.
- `png_dataset`: a plain `torch.utils.data.Dataset` that decodes the six PNG files of a site, in a `DataLoader`.
- `kept`: `TrainBatches` over sites that fit into memory, which are decoded once.

Ratios of wall time and of CPU time (with that of the workers): on a busy machine only the latter means something. Then
a ResNet-18 and a ResNet-50 are trained for some steps on crops of 256 pixels that are read from the store.
`data_wait_frac` is the share of the time in which no batch was ready; goal: below 0.05. `decode` is the CPU time of one
site (all channels, its checksum). Prints JSON and writes it to bench/results/loader.json.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import imagecodecs
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from upath import UPath

from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.images.spec import PlateSpec, decode_site, encode_site, frame_buffer
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.training.attempts import Attempt
from cellassets.training.augmentation import crop_turn_flip, draw
from cellassets.training.backbone import build_network
from cellassets.training.batches import TrainBatches, read_ahead
from cellassets.training.data import image_reader
from cellassets.training.fit import Batches, fit
from cellassets.training.losses import Heads
from cellassets.training.module import PerturbationClassifier
from cellassets.training.normalisation import channel_statistics, scale_and_shift
from cellassets.training.recipe import AugmentationParameters, NetworkRecipe, ResNetBackbone
from cellassets.training.sampling import Order
from cellassets.training.sites import LabelledSites, Split

RESULT = Path(__file__).parent / "results" / "loader.json"
UNIFORM = Order("uniform")
EXPERIMENT, SITE_PX, N_CLASSES = "HUVEC-1", 512, 8
CROPS = (128, 256)
BATCH_SIZE, N_WORKERS, N_ROUNDS = 16, 2, 3
N_REPEATS = 4  # every site occurs so often in an epoch
RESNET_50 = ResNetBackbone(widths=(256, 512, 1024, 2048), depths=(3, 4, 6, 3), block="bottleneck")
TRAINED = {"resnet18": (ResNetBackbone(), 16, 24), "resnet50": (RESNET_50, 4, 24)}  # network, batch size, steps
GOAL_DATA_WAIT_FRAC = 0.05


class PngSites(Dataset):
    """One site per item, as a plain dataset does it: decode the PNG files, crop, turn, flip."""

    def __init__(self, paths: list[list[Path]], augmentation: AugmentationParameters) -> None:
        self.paths = paths
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, item: int) -> torch.Tensor:
        image = np.stack([imagecodecs.png_decode(path.read_bytes()) for path in self.paths[item]])
        draws = draw(np.random.default_rng(item), 1, parameters=self.augmentation, site_shape=image.shape)
        return torch.from_numpy(crop_turn_flip(image[None], draws)[0])


def prepare(root: Path) -> tuple[ExperimentStore, list[list[Path]]]:
    """Returns a store of sites of 512 pixels, and the PNG files of each of its sites."""
    write_screen(tiny_design(image_size=SITE_PX), root / "landing", experiment_ids=[EXPERIMENT])
    manifest = check_experiment(UPath(root / "landing"), EXPERIMENT, policy=IngestPolicy())
    packing = Packing(UPath(root / "landing" / EXPERIMENT), UPath(root / "packed"), manifest.imaging)
    packed = pack_plates(manifest.images, manifest.wells, packing)
    store = ExperimentStore.open(packing.target, packed.files, EXPERIMENT)
    files = sorted((root / "landing" / EXPERIMENT).rglob("*.png"))
    return store, [files[at : at + store.n_channels] for at in range(0, len(files), store.n_channels)]


def labelled(store: ExperimentStore, n_repeats: int) -> LabelledSites:
    """Returns every site of a store some times, with labels in turn."""
    rows = np.tile(np.arange(store.n_sites), n_repeats)
    scale, shift = scale_and_shift(*channel_statistics(store.sites, "plate"))
    zeros = np.zeros(len(rows), dtype=np.int64)
    return LabelledSites(zeros, rows, rows % N_CLASSES, scale[rows], shift[rows])


def first(sites: LabelledSites, n_sites: int) -> LabelledSites:
    """Returns the first of some sites."""
    return LabelledSites(*(getattr(sites, one.name)[:n_sites] for one in dataclasses.fields(sites)))


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Returns wall time and CPU time of a call, with the CPU time of child processes that ended."""
    before, started = os.times(), time.perf_counter()
    work()
    taken, after = time.perf_counter() - started, os.times()
    return taken, sum(after[:4]) - sum(before[:4])


def drain(batches: Iterable[object]) -> None:
    """Consumes batches."""
    for _ in batches:
        pass


def measure(store: ExperimentStore, paths: list[list[Path]], crop_px: int) -> dict[str, float]:
    """Returns sites per second of each way, and their ratios, for one size of crop."""
    sites, augmentation = labelled(store, N_REPEATS), AugmentationParameters(crop_px=crop_px)
    images = PngSites([paths[row] for row in sites.store_row], augmentation)
    from_store, kept = image_reader([store], sites, memory_bytes=0), image_reader([store], sites)

    def batches(read: Callable[[np.ndarray], np.ndarray]) -> TrainBatches:
        return TrainBatches(sites, read, augmentation, BATCH_SIZE, 0, 0, n_threads=N_WORKERS, order=UNIFORM)

    def bare() -> Iterable[np.ndarray]:
        order = UNIFORM.batches(sites, BATCH_SIZE, np.random.default_rng(0))
        return read_ahead([lambda rows=rows: store.read(sites.store_row[rows]) for rows in order], N_WORKERS)

    ways: dict[str, Callable[[], object]] = {
        "loader": lambda: drain(batches(from_store)),
        "bare_read": lambda: drain(bare()),
        "png_dataset": lambda: drain(DataLoader(images, BATCH_SIZE, shuffle=True, num_workers=N_WORKERS)),
        "kept": lambda: drain(batches(kept)),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for n_round in range(N_ROUNDS + 1):
        for name, work in ways.items():
            taken = seconds(work)
            if n_round:  # the first round fills caches
                times[name].append(taken)
    wall, cpu = ({name: statistics.median(one[kind] for one in times[name]) for name in ways} for kind in (0, 1))
    found = {f"{name}_sites_per_s": round(sites.n_sites / wall[name], 1) for name in ways}
    found |= {f"{name}_cpu_ms_per_site": round(1000 * cpu[name] / sites.n_sites, 2) for name in ways}
    for name, times_of in (("", wall), ("_cpu", cpu)):
        found[f"loader_to_bare_read{name}"] = round(times_of["bare_read"] / times_of["loader"], 2)
        found[f"loader_to_png_dataset{name}"] = round(times_of["png_dataset"] / times_of["loader"], 2)
    return found


def decode_ms(store: ExperimentStore) -> dict[str, float]:
    """Returns the CPU time of decoding one site, the largest gain that decoding a part of it could bring."""
    site = store.read([0])[0]
    shape = dict(zip(("n_channels", "height", "width"), site.shape, strict=True))
    plate = PlateSpec(plate_id="p", n_sites=1, dtype=str(site.dtype), shard_sites=1, **shape)
    content, out = bytes(encode_site(site, 1, frame_buffer(plate))), np.empty_like(site)
    taken = min(seconds_of_cpu(lambda: decode_site(content, out, source="bench")) for _ in range(50))
    return {"cpu_ms_per_site": round(1000 * taken, 2), "mib_per_site": round(site.nbytes / 2**20, 2)}


def seconds_of_cpu(work: Callable[[], object]) -> float:
    """Returns the CPU time of a call, to the nanosecond."""
    started = time.process_time()
    work()
    return time.process_time() - started


def trained(store: ExperimentStore, root: Path, name: str) -> dict[str, float]:
    """Returns how long a training waited for batches that are read from the store."""
    backbone, batch_size, n_steps = TRAINED[name]
    recipe = NetworkRecipe(
        name=name,
        train_experiments=(EXPERIMENT,),
        validation_experiments=("HUVEC-2",),
        backbone=backbone,
        augmentation=AugmentationParameters(crop_px=256),
        n_epochs=1,
        batch_size=batch_size,
        sampling="uniform",
    )
    sites = labelled(store, -(-n_steps * batch_size // store.n_sites))
    sites, held_out = first(sites, n_steps * batch_size), first(sites, 2)
    network = build_network(backbone, n_channels=6, embedding_dim=128, trained_px=256, seed=0)
    heads = Heads(recipe.loss, embedding_dim=128, n_classes=N_CLASSES)
    module = PerturbationClassifier(network, heads, recipe=recipe, n_steps=n_steps, on_epoch=lambda *_: None)
    readers = tuple(image_reader([store], some, memory_bytes=0) for some in (sites, held_out))
    split = Split(sites, held_out, tuple("abcdefgh"), {})
    batches = Batches(split, readers, recipe, module.pace)
    fit(module, batches, recipe=recipe, attempt=Attempt.begin(UPath(root / name)))
    pace = module.history[-1]
    return {
        "batch_size": batch_size,
        "n_steps": n_steps,
        "sites_per_s": round(pace["sites_per_second"], 2),
        "data_wait_frac": round(pace["data_wait_frac"], 4),
    }


def main() -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--without-training", action="store_true", help="leave the trainings out, and write nothing")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, paths = prepare(Path(folder))
        result: dict[str, object] = {
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "n_threads": torch.get_num_threads(),
            "load_average": round(os.getloadavg()[0], 1),
            "site": f"{store.n_channels} x {store.height} x {store.width} {store.dtype}",
            "decode": decode_ms(store),
            **{f"crops of {crop_px} px": measure(store, paths, crop_px) for crop_px in CROPS},
        }
        print(json.dumps(result, indent=1), file=sys.stderr)  # the trainings take minutes
        if not arguments.without_training:
            result["goal_data_wait_frac_below"] = GOAL_DATA_WAIT_FRAC
            result["training on crops of 256 px"] = {name: trained(store, Path(folder), name) for name in TRAINED}
    text = json.dumps(result, indent=1)
    if not arguments.without_training:
        RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
