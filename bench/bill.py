"""What 100 million images cost: core-hours of each stage and bytes of each artefact, from one simulated experiment.

Makes an experiment of RxRx1's size (512 x 512 pixels, 6 channels, 8 bits) and takes it through every stage up to the
embeddings, with the processor time (of all cores, children included) and the published bytes of each. One image is one
channel of one site. The sums are these figures times the number of images; no price is in them. Networks are
not in it: bench/embedding.py measures one on the processor, and a GPU was not measured. Prints JSON and keeps it in
bench/results/bill.json.
"""

import json
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment
from cellassets.synthetic.presets import demo_design
from cellassets.synthetic.screen import write_screen

RESULT = Path(__file__).parent / "results" / "bill.json"
EXPERIMENT = "HUVEC-1"
N_IMAGES = 100_000_000
N_CHANNELS = 6
STEPS = (
    ("raw_plates", {"experiment": EXPERIMENT}),
    ("plate_store", {"experiment": EXPERIMENT}),
    ("plate_quality", {"experiment": EXPERIMENT}),
    ("site_embeddings", {"experiment": EXPERIMENT, "model": "classical.v1"}),
)


def processor_s() -> float:
    """Returns the processor time of this process and of its finished children, in seconds."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def prepare(root: Path) -> Deployment:
    """Returns a deployment with a landed experiment and a registered baseline."""
    write_screen(demo_design(image_size=512), root / "landing", experiment_ids=[EXPERIMENT])
    recipes = root / "configs" / "recipes"
    recipes.mkdir(parents=True)
    (root / "configs" / "policy.yaml").write_text("{}\n")
    (recipes / "classical.yaml").write_text("kind: classical\n")
    return Deployment.of({}, home=root, configs=root / "configs")


def bytes_below(folder: Path) -> int:
    """Returns the size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Runs the measurement."""
    root = Path(tempfile.mkdtemp(prefix="bill-"))
    try:
        deployment = prepare(root)
        n_sites = None
        rows = {"landing": {"bytes_per_image": 0.0}}
        for name, keys in STEPS:
            if keys.get("model") == "classical.v1":
                carry_out(stage_named("checkpoint"), deployment, {"recipe": "classical"})
            before, started = processor_s(), time.monotonic()
            published = carry_out(stage_named(name), deployment, keys)
            used = processor_s() - before
            n_sites = n_sites or published.record.summary["n_sites"]
            label = name if "model" not in keys else f"{name} {keys['model'].partition('.')[0]}"
            rows[label] = {
                "core_ms_per_image": round(1000 * used / (n_sites * N_CHANNELS), 3),
                "wall_s": round(time.monotonic() - started, 1),
                "bytes_per_image": round(sum(e.n_bytes for e in published.record.files) / (n_sites * N_CHANNELS), 1),
            }
        rows["landing"]["bytes_per_image"] = round(bytes_below(root / "landing") / (n_sites * N_CHANNELS), 1)
    finally:
        shutil.rmtree(root)
    for row in rows.values():
        if "core_ms_per_image" in row:
            row["core_hours"] = round(row["core_ms_per_image"] * N_IMAGES / 3.6e6)
        row["terabytes"] = round(row["bytes_per_image"] * N_IMAGES / 1e12, 3)
    result = {"n_sites": n_sites, "n_cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "stages": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
