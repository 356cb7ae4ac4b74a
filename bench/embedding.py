"""The embedding stage compared with the bare forward pass of its network, on the same device, in one run.

`pipeline` is `embed_experiment` on a stored experiment: it reads, decodes, checks and normalises sites, runs the
network and writes Parquet. `bare` runs the same network repeatedly on one prepared batch in memory. Both use the same
batch size and number of threads. Goal: the pipeline embeds at least 0.9 times as many sites per second. The result also
has the speed in the other precision, and the gain by keeping freed memory: the same pass, in the same precision, before
that setting. Prints JSON and keeps it in bench/results/embedding.json.
"""

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from upath import UPath

from cellassets.encoders.embed import embed_store
from cellassets.encoders.network import NetworkEncoder
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import write_screen
from cellassets.training.backbone import build_network
from cellassets.training.checkpoint import save_model_folder
from cellassets.training.normalisation import channel_statistics
from cellassets.training.recipe import ResNetBackbone
from cellassets.training.spec import NetworkSpec, Preprocessing

RESULT = Path(__file__).parent / "results" / "embedding.json"
EXPERIMENT, MODEL = "HUVEC-1", "resnet18"
N_ROUNDS = 3


def prepare(root: Path) -> tuple[ExperimentStore, Path]:
    """Returns a store with images of RxRx1's size, and the model folder of a ResNet-18 with random weights."""
    write_screen(demo_design(image_size=512), root / "landing", experiment_ids=[EXPERIMENT])
    manifest = check_experiment(UPath(root / "landing"), EXPERIMENT, policy=IngestPolicy())
    packing = Packing(UPath(root / "landing" / EXPERIMENT), UPath(root / "packed"), manifest.imaging)
    packed = pack_plates(manifest.images, manifest.wells, packing)
    spec = NetworkSpec(
        n_channels=6,
        channel_names=manifest.imaging.channel_names,
        embedding_dim=128,
        backbone=ResNetBackbone(),
        trained_px=128,
        preprocessing=Preprocessing(normalisation="plate"),
        recipe_name=MODEL,
        recipe_fingerprint="none",
    )
    network = build_network(spec.backbone, n_channels=6, embedding_dim=128, trained_px=128, seed=0)
    folder = save_model_folder(root / "model", network, spec)
    return ExperimentStore.open(packing.target, packed.files, EXPERIMENT), folder


def seconds(work: Callable[[], object]) -> float:
    """Returns the wall time of one call in seconds, including the work on the device."""
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def fresh_forward_s() -> float:
    """Returns the seconds that a float32 forward pass over 16 sites takes with the present settings of memory."""
    network = build_network(ResNetBackbone(), n_channels=6, embedding_dim=128, trained_px=128, seed=0).eval()
    images = torch.zeros(16, 6, 512, 512).contiguous(memory_format=torch.channels_last)
    network = network.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        return statistics.median(seconds(lambda: network(images)) for _ in range(5))


def main() -> None:
    """Measures in alternating rounds, prints and keeps the medians."""
    with tempfile.TemporaryDirectory() as folder:
        store, model_folder = prepare(Path(folder))
        as_it_was = fresh_forward_s()
        encoder = NetworkEncoder(model_folder)
        with_kept_memory = fresh_forward_s()
        rows = np.arange(encoder.batch_size) % store.n_sites
        mean, std = channel_statistics(store.sites, encoder.normalisation)
        encoder.embed(store.read(rows), mean[rows], std[rows])  # warms up, and decides the precision
        prepared = encoder._normalised(store.read(rows), mean[rows], std[rows])  # noqa: SLF001  the bare side
        n_batches = max(1, store.n_sites // len(rows))

        def bare(precision: str) -> None:
            for _ in range(n_batches):
                encoder._forward(prepared, precision).cpu()  # noqa: SLF001

        def pipeline() -> None:
            parts = UPath(folder) / "parts"
            shutil.rmtree(parts.path, ignore_errors=True)
            embed_store(store, NetworkEncoder(model_folder), parts, model_key=f"{MODEL}.v1")

        times: dict[str, list[float]] = {"bare": [], "pipeline": []}
        other = "fp32" if encoder.precision == "bf16" else "bf16"
        for _ in range(N_ROUNDS):
            times["bare"].append(seconds(lambda: bare(encoder.precision)) / (n_batches * len(rows)))
            times["pipeline"].append(seconds(pipeline) / store.n_sites)
        times["other_precision"] = [seconds(lambda: bare(other)) / (n_batches * len(rows))]
    median = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "n_threads": torch.get_num_threads(),
        "precision": encoder.precision,
        "batch_size": encoder.batch_size,
        "n_sites": store.n_sites,
        "bare_sites_per_s": round(1 / median["bare"], 1),
        "pipeline_sites_per_s": round(1 / median["pipeline"], 1),
        f"bare_{other}_sites_per_s": round(1 / median["other_precision"], 1),
        "ratio": round(median["bare"] / median["pipeline"], 3),
        "goal_at_least": 0.9,
        "gain_by_kept_memory_on_cpu": round(as_it_was / with_kept_memory, 2),
    }
    text = json.dumps(result, indent=1)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
