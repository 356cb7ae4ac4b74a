"""Embedding: all backends compared with torch in float32, and the stage compared with the bare forward pass.

For a ResNet-50 and a ViT-S on sites of 256 pixels with six channels, on one device, in one run:

- `backends`: each backend in turns with the reference, on one batch in memory: ratio of speed (wall and CPU time), and
  lowest centred cosine of the vectors of 64 sites to the reference. Goal on a CPU: one that is right and 5 times as
  fast. The weights are random, so images differ little in their vectors, and the cosine is lower than after training.
- `pipeline`: `embed_store` on a stored experiment: read, decode, check, normalise, compute, with the backend that is
  named. `bare`: the same network by the same backend on a batch in memory. Goal: a ratio of at least 0.95.

CPU time is that of all threads of this process; on a busy machine only its ratios mean something. `--device cuda` needs
a GPU. Prints JSON, and writes it to bench/results/embedding.json, on a GPU to embedding_<name of the GPU>.json.
"""

import argparse
import gc
import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from upath import UPath

from cellassets.encoders.embed import embed_store
from cellassets.encoders.inference.backend import FAILURES, REFERENCE, Backend, short
from cellassets.encoders.inference.candidates import candidates
from cellassets.encoders.inference.choice import MIN_COSINE, MIN_GAIN, N_JUDGED, Decision, min_centred_cosine
from cellassets.encoders.network import NetworkEncoder
from cellassets.encoders.precision import DECISION_NAME
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.training.backbone import build_network
from cellassets.training.checkpoint import save_model_folder
from cellassets.training.normalisation import channel_statistics
from cellassets.training.recipe import Backbone, ResNetBackbone, VitBackbone
from cellassets.training.spec import NetworkSpec, Preprocessing

RESULTS = Path(__file__).parent / "results"
EXPERIMENT, SITE_PX = "HUVEC-1", 256
NETWORKS: dict[str, Backbone] = {
    "resnet50": ResNetBackbone(widths=(256, 512, 1024, 2048), depths=(3, 4, 6, 3), block="bottleneck"),
    "vit_s": VitBackbone(),
}
GOALS = {"pipeline_to_bare": 0.95, "fastest_backend_on_cpu": 5.0}
Times = list[tuple[float, float]]


class TimedEncoder(NetworkEncoder):
    """Keeps when the stage had settled the backend: a stage does that once per table, of thousands of sites."""

    settled_at = (0.0, 0.0)

    def why_not(self, *arguments: Any) -> str | None:
        """Notes the time after the backend is prepared."""
        try:
            return super().why_not(*arguments)
        finally:
            self.settled_at = (time.perf_counter(), time.process_time())


def prepare_store(root: Path, n_sites_per_well: int) -> ExperimentStore:
    """Returns a store of 48 wells of simulated sites."""
    design = tiny_design(image_size=SITE_PX, n_sites_per_well=n_sites_per_well)
    write_screen(design, root / "landing", experiment_ids=[EXPERIMENT])
    manifest = check_experiment(UPath(root / "landing"), EXPERIMENT, policy=IngestPolicy())
    packing = Packing(UPath(root / "landing" / EXPERIMENT), UPath(root / "packed"), manifest.imaging)
    packed = pack_plates(manifest.images, manifest.wells, packing)
    return ExperimentStore.open(packing.target, packed.files, EXPERIMENT)


def prepare_model(root: Path, name: str, store: ExperimentStore) -> TimedEncoder:
    """Returns the encoder of a network with random weights."""
    spec = NetworkSpec(
        n_channels=store.n_channels,
        channel_names=store.channel_names,
        embedding_dim=128,
        backbone=NETWORKS[name],
        trained_px=SITE_PX,
        preprocessing=Preprocessing(normalisation="plate"),
        recipe_name=name,
        recipe_fingerprint="none",
    )
    network = build_network(spec.backbone, n_channels=6, embedding_dim=128, trained_px=SITE_PX, seed=0)
    return TimedEncoder(save_model_folder(root / name, network, spec))


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Returns wall time and CPU time of a call, including the work on the device."""
    started, cpu_started = time.perf_counter(), time.process_time()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started, time.process_time() - cpu_started


def best(times: Times) -> tuple[float, float]:
    """Returns the smallest wall time and the smallest CPU time."""
    walls, cpus = zip(*times, strict=True)
    return min(walls), min(cpus)


def batches_of(encoder: NetworkEncoder, store: ExperimentStore, n_sites: int) -> list[torch.Tensor]:
    """Returns normalised batches of sites that are spread over the store, all of the same size."""
    rows = np.linspace(0, store.n_sites - 1, n_sites).round().astype(np.int64)
    mean, std = channel_statistics(store.sites, encoder.normalisation)
    size = min(encoder.batch_size, n_sites)
    parts = [rows[at : at + size] for at in range(0, n_sites, size)]
    return [encoder._normalised(store.read(part), mean[part], std[part]) for part in parts]  # noqa: SLF001


def compare_backends(
    encoder: NetworkEncoder, store: ExperimentStore, tried: Sequence[Backend], n_rounds: int
) -> dict[str, dict[str, object]]:
    """Returns ratios of speed and the cosine of every backend, or why there is none."""
    batches, found = batches_of(encoder, store, min(N_JUDGED, store.n_sites)), {}
    exact = encoder._reference.prepare(encoder.network, batches[0])  # noqa: SLF001
    truth = np.concatenate([exact(batch).cpu().numpy() for batch in batches])
    for backend in tried:
        absence = backend.absence()
        if absence is not None:
            found[backend.name] = {"absent": absence}
            continue
        started = time.perf_counter()
        try:
            forward = backend.prepare(encoder.network, batches[0])
            vectors = np.concatenate([forward(batch).cpu().numpy() for batch in batches])
        except FAILURES as error:
            found[backend.name] = {"failed": short(error)}
            continue
        prepared_s = time.perf_counter() - started
        times: dict[str, Times] = {"exact": [], "fast": []}
        for _ in range(n_rounds):
            times["exact"].append(seconds(lambda: exact(batches[0]).cpu()))
            times["fast"].append(seconds(lambda forward=forward: forward(batches[0]).cpu()))
        slow, fast = best(times["exact"]), best(times["fast"])
        found[backend.name] = {
            "speed_ratio": round(slow[0] / fast[0], 2),
            "speed_ratio_cpu": round(slow[1] / max(fast[1], 1e-9), 2),
            "min_centred_cosine": round(min_centred_cosine(truth, vectors), 6),
            "first_vectors_s": round(prepared_s, 1),
            "sites_per_s": round(len(batches[0]) / fast[0], 2),
            "reference_sites_per_s": round(len(batches[0]) / slow[0], 2),
        }
    return found


def fastest(backends: dict[str, dict[str, object]]) -> str:
    """Returns the fastest backend that is right, as the product chooses; by CPU time on a CPU."""
    key = "speed_ratio" if torch.cuda.is_available() else "speed_ratio_cpu"
    rights = {
        name: float(str(one[key]))
        for name, one in backends.items()
        if key in one and float(str(one["min_centred_cosine"])) >= MIN_COSINE and float(str(one[key])) >= MIN_GAIN
    }
    return max(rights, key=rights.__getitem__, default=REFERENCE)


def compare_pipeline(
    encoder: TimedEncoder, store: ExperimentStore, backend: str, root: Path, *, n_rounds: int
) -> dict[str, object]:
    """Returns the speed of the stage and of the bare forward pass, in alternating rounds."""
    encoder.compute_in(backend)
    # whole batches only: the last, filled up batch of a table counts in a small table, and not in one of thousands
    encoder.batch_size = max(n for n in range(1, encoder.batch_size + 1) if store.n_sites % n == 0)
    (batch,) = batches_of(encoder, store, min(encoder.batch_size, store.n_sites))
    n_batches = store.n_sites // len(batch)
    decision = Decision(backend=backend, precision=encoder._backend.precision)  # noqa: SLF001
    times: dict[str, Times] = {"bare": [], "pipeline": []}

    def bare() -> None:
        for _ in range(n_batches):
            encoder._forward(batch).cpu()  # noqa: SLF001

    bare()
    for n_round in range(n_rounds):
        folder = UPath(root) / f"parts-{encoder.spec.recipe_name}-{backend}-{n_round}"
        folder.mkdir()
        (folder / DECISION_NAME).write_text(decision.model_dump_json())
        times["bare"].append(seconds(bare))
        embed_store(store, encoder, folder, model_key=f"{encoder.spec.recipe_name}.v1")
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        times["pipeline"].append((wall_s - encoder.settled_at[0], cpu_s - encoder.settled_at[1]))
    wall, cpu = ({name: statistics.median(one[kind] for one in times[name]) for name in times} for kind in (0, 1))
    return {
        "backend": backend,
        "batch_size": len(batch),
        "n_sites": store.n_sites,
        "bare_sites_per_s": round(store.n_sites / wall["bare"], 2),
        "pipeline_sites_per_s": round(store.n_sites / wall["pipeline"], 2),
        "ratio": round(wall["bare"] / wall["pipeline"], 3),
        "ratio_cpu": round(cpu["bare"] / max(cpu["pipeline"], 1e-9), 3),
    }


def main() -> None:
    """Measures, prints and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pipeline-of", help="measure the pipeline with this backend alone, and write nothing")
    parser.add_argument(
        "--without-compiling", action="store_true", help="leave `torch.compile` out, which takes minutes"
    )
    parser.add_argument("--sites-per-well", type=int, default=3, help="48 wells; on a GPU take 100 or more")
    arguments = parser.parse_args()
    if (arguments.device == "cuda") != torch.cuda.is_available():
        parser.error(f"--device {arguments.device}, but torch sees {'a' if torch.cuda.is_available() else 'no'} GPU")
    result: dict[str, object] = {
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else f"cpu ({cpu_name()})",
        "n_threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1),
        "site": f"6 x {SITE_PX} x {SITE_PX} uint8",
        "goals_at_least": GOALS,
    }
    with tempfile.TemporaryDirectory() as folder:
        store = prepare_store(Path(folder), arguments.sites_per_well)
        for name in arguments.networks:
            encoder = prepare_model(Path(folder), name, store)
            if arguments.pipeline_of:
                named = arguments.pipeline_of
                result[name] = compare_pipeline(encoder, store, named, Path(folder), n_rounds=arguments.rounds)
                continue
            tried = [one for one in candidates(arguments.device) if is_tried(one, arguments)]
            backends = compare_backends(encoder, store, tried, arguments.rounds)
            gc.collect()
            pipeline = compare_pipeline(encoder, store, fastest(backends), Path(folder), n_rounds=arguments.rounds)
            result[name] = {"backends": backends, "pipeline": pipeline}
            keep(result, arguments.device)  # a network takes minutes
    print(json.dumps(result, indent=1))


def is_tried(backend: Backend, arguments: argparse.Namespace) -> bool:
    """Returns whether the arguments ask for a backend."""
    return not (arguments.without_compiling and backend.name.startswith("compiled"))


def keep(result: dict[str, object], device: str) -> None:
    """Writes the result to the file of the device."""
    suffix = "" if device == "cpu" else "_" + re.sub(r"\W+", "_", torch.cuda.get_device_name()).lower()
    (RESULTS / f"embedding{suffix}.json").write_text(json.dumps(result, indent=1) + "\n")


def cpu_name() -> str:
    """Returns the model of the CPU, as Linux names it."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found.group(1) if found else "unknown"


if __name__ == "__main__":
    main()
