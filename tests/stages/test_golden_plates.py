"""Golden outputs of `raw_plates`, `plate_store` and `plate_quality`: numbers change only with the code version.

The landing zone is made from integer arithmetic and uncompressed PNG files, so it is the same on every machine.
Identifiers and integers are compared by hash, floating-point columns by value (relative tolerance 1e-5), since the last
bits of a Fourier transform depend on the processor.
"""

import csv
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cellassets.stages import plate_quality, plate_store, raw_plates
from cellassets.stages.carry_out import carry_out
from cellassets.stages.catalogue import stage_named
from cellassets.storage.deployment import Deployment
from cellassets.tables.content import frame_fingerprint
from cellassets.tables.parquet import read_table
from cellassets.tables.schemas import FINDINGS, IMAGES, QUALITY, SITES, WELLS

GOLDEN = Path(__file__).parent / "data" / "golden_plates.json"
EXPERIMENT = "GOLD-1"
CHANNELS = ("DNA", "ER", "Actin")
SIDE_PX = 64
WELLS_USED = ("A01", "A02", "B01", "B02", "C03", "H12")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the three stages publish for the fixed landing zone, by stage."""
    home = tmp_path_factory.mktemp("golden")
    land(home / "landing" / EXPERIMENT)
    (home / "configs").mkdir()
    (home / "configs/policy.yaml").write_text("{}")
    channels = [{"key": str(number), "name": name} for number, name in enumerate(CHANNELS, start=1)]
    (home / "landing" / "experiment.yaml").write_text(json.dumps({"channels": channels}))
    deployment = Deployment.of({}, home=home, configs=home / "configs")
    stages = {"raw_plates": raw_plates, "plate_store": plate_store, "plate_quality": plate_quality}
    place = {name: carry_out(stage_named(name), deployment, {"experiment": EXPERIMENT}) for name in stages}
    raw, store, quality = (place[name].record for name in stages)

    def table(stage, name, schema):
        return read_table(place[stage].path(f"{name}.parquet"), schema)

    def summary(record):
        return {name: value for name, value in record.summary.items() if not name.startswith("landing")}

    return {
        "raw_plates": {
            "code_version": raw_plates.CODE_VERSION,
            "fingerprint": raw.fingerprint,
            "summary": summary(raw),
            "images": described(table("raw_plates", "images", IMAGES)),
            "wells": described(table("raw_plates", "wells", WELLS)),
            "findings": described(table("raw_plates", "findings", FINDINGS)),
        },
        "plate_store": {
            "code_version": plate_store.CODE_VERSION,
            "summary": {name: value for name, value in summary(store).items() if name != "n_bytes"},
            "sites": described(table("plate_store", "sites", SITES)),
            "files": sorted(entry.name for entry in store.files),
            "layout": [
                [entry.name, entry.n_bytes, entry.crc32c] for entry in store.files if entry.name.endswith(".json")
            ],
        },
        "plate_quality": {
            "code_version": plate_quality.CODE_VERSION,
            "summary": summary(quality),
            "quality": described(table("plate_quality", "quality", QUALITY)),
            "files": sorted(entry.name for entry in quality.files),
        },
    }


@pytest.mark.parametrize("stage", ["raw_plates", "plate_store", "plate_quality"])
def test_the_numbers_of_a_stage_change_only_with_its_code_version(stage, made, request):
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    found, expected = json.loads(json.dumps(made[stage])), golden.get(stage)
    changed = differences(expected, found)
    is_same_version = expected is not None and expected["code_version"] == found["code_version"]
    if is_same_version and changed:
        pytest.fail(
            f"{stage}: {', '.join(changed)} changed and the code version is still {found['code_version']!r}. Raise the "
            f"code version of the stage, then write the new values with --write-golden",
        )
    if request.config.getoption("write_golden"):
        GOLDEN.write_text(json.dumps({**golden, stage: found}, indent=1, sort_keys=True) + "\n")
    elif not is_same_version:
        pytest.fail(f"{stage}: no golden values of code version {found['code_version']!r}; write them: --write-golden")


def test_a_changed_number_is_a_difference():
    value = {"code_version": "1", "table": {"rows": "ab", "floats": {"focus": [1.0, 2.0]}}}
    nearly = {"code_version": "1", "table": {"rows": "ab", "floats": {"focus": [1.0, 2.0000001]}}}
    other = {"code_version": "1", "table": {"rows": "ab", "floats": {"focus": [1.0, 2.001]}}}
    assert differences(value, nearly) == []
    assert differences(value, other) == ["table.floats.focus"]
    assert differences(value, {**value, "table": {"rows": "ac", "floats": {}}}) == ["table.floats", "table.rows"]


def differences(expected, found, name=""):
    """Returns the names of the values that differ; numbers differ from a relative difference of 1e-5 on."""
    if expected is None:
        return [name or "everything"]
    if isinstance(expected, dict) and isinstance(found, dict):
        if expected.keys() == found.keys():
            below = [differences(expected[k], found[k], f"{name}.{k}".strip(".")) for k in sorted(expected)]
            return [each for names in below for each in names]
        changed = sorted(k for k in expected.keys() | found.keys() if k not in expected or k not in found)
        same = [k for k in expected if k in found]
        rest = differences({k: expected[k] for k in same}, {k: found[k] for k in same}, name)
        return sorted({*rest, *([name] if name else changed)})
    if isinstance(expected, float) or (isinstance(expected, list) and expected and isinstance(expected[0], float)):
        is_same = np.shape(expected) == np.shape(found) and np.allclose(expected, found, rtol=1e-5, atol=1e-7)
        return [] if is_same else [name]
    return [] if expected == found else [name]


def described(table):
    """Returns the hash of the columns that hold no floating-point numbers, and the values of the others."""
    floats = [name for name, dtype in table.schema.items() if dtype.is_float() or isinstance(dtype, pl.Array)]
    values = {name: np.asarray(table[name].to_numpy(), dtype=float).ravel().tolist() for name in floats}
    if any(np.isnan(column).any() for column in map(np.asarray, values.values())):
        values = {name: [-1.0 if np.isnan(v) else v for v in column] for name, column in values.items()}
    return {"rows": frame_fingerprint(table.drop(floats)), "floats": values}


def land(folder):
    """Writes two plates of six wells and two sites; one image is missing and one site is saturated."""
    rows = []
    for plate in (1, 2):
        (folder / f"Plate{plate}").mkdir(parents=True)
        for number, well in enumerate(WELLS_USED):
            for site in (1, 2):
                rows.append(metadata_row(plate, well, site, number))
                for channel in (1, 2, 3):
                    pixels = site_pixels(seed=100 * plate + 10 * number + site, channel=channel)
                    if (plate, well, site, channel) == (1, "C03", 1, 2):
                        continue
                    if (plate, well, site) == (2, "B01", 2):
                        pixels[: SIDE_PX // 2] = 255
                    (folder / f"Plate{plate}/{well}_s{site}_w{channel}.png").write_bytes(png(pixels))
    with (folder / "metadata.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "_COMPLETE").touch()


def metadata_row(plate, well, site, number):
    kinds = ["control", "gene", "gene", "compound", "compound", "gene"]
    is_control, is_compound = number == 0, kinds[number] == "compound"
    return {
        "cell_type": "HUVEC" if number < 4 else "U2OS",
        "experiment": EXPERIMENT,
        "plate": plate,
        "well": well,
        "site": site,
        "well_type": "negative_control" if is_control else "treatment",
        "sirna": "EMPTY" if is_control else f"P{number}",
        "perturbation_kind": kinds[number],
        "gene_symbol": f"GENE{number}" if kinds[number] == "gene" else "",
        "guide_id": f"GENE{number}_g1" if kinds[number] == "gene" else "",
        "compound_id": f"CMPD{number}" if is_compound else "",
        "concentration_um": 0.5 * number if is_compound else "",
    }


def site_pixels(*, seed, channel):
    """Returns nuclei as paraboloids on a sloping background with grain, by integer arithmetic alone."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX].astype(np.int64)
    pixels = 12 + (y + 2 * x) // 24 + ((73 * y + 151 * x + 37 * seed + 11 * channel) ** 2 // 8) % 7
    for nucleus in range(3 + seed % 4):
        cy, cx = (seed * 17 + 23 * nucleus) % 52 + 6, (seed * 29 + 31 * nucleus) % 52 + 6
        pixels = pixels + np.maximum(0, 110 - 10 * channel - 5 * ((y - cy) ** 2 + (x - cx) ** 2))
    return np.clip(pixels, 0, 250).astype(np.uint8)


def png(pixels):
    """Returns an 8-bit greyscale PNG without compression: its bytes do not depend on a compressor's version."""
    height, width = pixels.shape
    lines = b"".join(b"\x00" + row.tobytes() for row in pixels)
    stored = b"\x01" + struct.pack("<HH", len(lines), len(lines) ^ 0xFFFF) + lines
    data = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(lines))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
