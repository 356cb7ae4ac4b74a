"""Small screens of every format and layout, and one function for each way in which they arrive broken.

`tests/screens/test_broken_input.py` says what must be said about each of them.
"""

import csv
import io
import json
import os
import shutil
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

PLATES, WELLS, SITES, CHANNELS = ("P1", "P2"), ("A01", "B02", "C03"), (1, 2), (1, 2, 3)
SIZE = (16, 24)
PLATE_MAPS = "workspace/metadata/platemaps/*"
FIRST_FILE = "r01c01f01p01-ch5sk1fk1fl1.tiff"  # DNA of well A01, site 1, in the screen `jump`
TERMS = ("cell_type", "perturbation_id", "perturbation_kind", "gene_symbol", "compound_id", "concentration_um",
         "control_kind")  # fmt: skip


def encode(pixels, ending):
    """Returns an image file."""
    if ending == "png":
        return imagecodecs.png_encode(pixels)
    if ending == "jp2":
        return imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="jp2", reversible=True)
    return tiff(pixels)


def tiff(pixels, **options):
    """Returns a TIFF file."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def noise(name, dtype="uint8", size=SIZE):
    """Returns an image of its own for every name."""
    return np.random.default_rng(zlib.crc32(name.encode())).integers(1, np.iinfo(dtype).max, size, dtype=dtype)


@dataclass(frozen=True)
class Screen:
    """One landed experiment, which the functions below break."""

    landing: Path
    name: str
    ending: str = ""

    @property
    def folder(self):
        return self.landing / self.name

    @property
    def image(self):
        """The image that is broken: plate P1, well B02, site 1, channel 2."""
        return self.folder / f"P1/B02_s1_w2.{self.ending}"

    def table(self, name="plate_map.csv"):
        with (self.folder / name).open(newline="") as stream:
            return list(csv.DictReader(stream))

    def write_table(self, rows, name="plate_map.csv"):
        with (self.folder / name).open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def set_cells(self, where, **cells):
        """Changes cells of the rows that `where` chooses."""
        self.write_table([row | cells if where(row) else row for row in self.table()])

    def declare(self, **changes):
        path = self.folder / "experiment.yaml"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def land_files(landing, ending, *, dtype="uint8", planes=(None,), pages=False):
    """Lands an experiment of image files that `experiment.yaml` declares."""
    screen = Screen(landing, "E-1", ending)
    rows = []
    for plate in PLATES:
        (screen.folder / plate).mkdir(parents=True)
        for well in WELLS:
            control = "negative" if well == "A01" else "treatment"
            what = ("U2OS", "DMSO" if well == "A01" else f"c{well}", "compound", "", "", "", control)
            for site in SITES:
                rows.append(dict(zip(("plate", "well", "site", *TERMS), (plate, well, site, *what), strict=True)))
                name = f"{plate}/{well}_s{site}"
                if pages:
                    stack = np.stack([noise(f"{name}{channel}", dtype) for channel in CHANNELS])
                    (screen.folder / f"{name}.tif").write_bytes(tiff(stack, photometric="minisblack"))
                    continue
                for channel in CHANNELS:
                    for plane in planes:
                        end = f"_w{channel}" + ("" if plane is None else f"_z{plane}") + f".{ending}"
                        (screen.folder / f"{name}{end}").write_bytes(encode(noise(f"{name}{end}", dtype), ending))
    screen.write_table(rows)
    path = "{plate}/{well:[^_/]+}_s{site}" + ("" if pages else "_w{channel}") + ("" if planes[0] is None else "_z{z}")
    content = {
        "images": {"path": f"{path}.{ending}", **({"pages": "channel"} if pages else {})},
        "channels": [{"key": str(number), "name": name} for number, name in enumerate(("DNA", "ER", "Mito"), 1)],
        "metadata": {
            "tables": [{"path": "plate_map.csv"}],
            "terms": {
                "plate_id": "plate",
                "well_id": "well",
                "site_index": "site",
                **{term: term for term in TERMS if term != "control_kind"},
                "control_kind": {"column": "control_kind", "values": {"treatment": None, "negative": "negative"}},
            },
        },
        **({} if planes[0] is None else {"z_projection": "maximum"}),
    }
    (screen.folder / "experiment.yaml").write_text(json.dumps(content))
    return screen


def land(base, landing, trees):
    """Returns a whole screen of some kind."""
    files = {
        "png": {"ending": "png"},
        "jp2": {"ending": "jp2"},
        "tif": {"ending": "tif", "dtype": "uint16"},
        "planes": {"ending": "tif", "planes": (1, 2)},
        "pages": {"ending": "tif", "pages": True},
    }
    if base in files:
        return land_files(landing, **files[base])
    if base == "jump":
        return Screen(landing, trees.jump(landing, side=16), "tiff")
    if base == "parquet":
        return Screen(landing, trees.rxrx3_core(landing, side=16))
    version, shards = {"zarr": ("0.5", False), "zarr2": ("0.4", False), "sharded": ("0.5", True)}[base]
    return Screen(landing, trees.ome_zarr(landing, version=version, side=16, shards=shards))


def cut(end):
    """Returns a function that cuts an image: its head is left, its first half, or everything except its last byte."""

    def harm(screen):
        content = screen.image.read_bytes()
        screen.image.write_bytes(content[: {"head": 20, "middle": len(content) // 2, "last": len(content) - 1}[end]])

    return harm


def content(make):
    """Returns a function that puts another content in the image's place."""

    def harm(screen):
        screen.image.write_bytes(make(screen.image.read_bytes()))

    return harm


def png_bomb(_):
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 900_000, 900_000, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    )
    packed = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
              for name, data in chunks]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def tiff_bomb(_):
    return tiff(noise("a")).replace(struct.pack("<HHII", 256, 4, 1, 24), struct.pack("<HHII", 256, 4, 1, 900_000)) \
        .replace(struct.pack("<HHII", 257, 4, 1, 16), struct.pack("<HHII", 257, 4, 1, 900_000))  # fmt: skip


def tile_bomb(_):
    tiled = tiff(noise("a", size=(32, 32)), tile=(16, 16))
    return tiled.replace(struct.pack("<HHII", 322, 4, 1, 16), struct.pack("<HHII", 322, 4, 1, 900_000)) \
        .replace(struct.pack("<HHII", 323, 4, 1, 16), struct.pack("<HHII", 323, 4, 1, 900_000))  # fmt: skip


def jp2_bomb(whole):
    start = whole.index(b"\xff\x4f\xff\x51") + 8
    return whole[:start] + struct.pack(">II", 900_000, 900_000) + whole[start + 8 :]


def jp2_of_two_faces(whole):
    """A box before the codestream looks like a small image; the codestream itself claims a huge one."""
    box = whole.index(b"jp2c") - 4
    small = whole[box + 8 : box + 64]
    return whole[:box] + struct.pack(">I", len(small) + 8) + b"uuid" + small + jp2_bomb(whole[box:])


def in_folder(change):
    """Returns a function that changes files below the experiment's folder."""

    def harm(screen):
        change(screen.folder)

    return harm


def blank(screen):
    for site in SITES:
        path = screen.folder / f"P1/B02_s{site}_w2.{screen.ending}"
        path.write_bytes(encode(np.zeros(SIZE, "uint16" if screen.ending == "tif" else "uint8"), screen.ending))


def copy(source, target):
    """Returns a function that copies one file over another one."""
    return in_folder(lambda folder: shutil.copy(folder / source, folder / target))


def remove(*patterns):
    """Returns a function that removes files and folders."""

    def change(folder):
        found = [path for pattern in patterns for path in folder.glob(pattern)]
        assert found, patterns
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return in_folder(change)


def cells(well="B02", **changed):
    """Returns a function that changes the rows of a well on both plates."""
    return lambda screen: screen.set_cells(lambda row: row["well"] == well, **changed)


def text(name, change):
    """Returns a function that changes the bytes of a file."""

    def harm(screen):
        (path,) = screen.folder.glob(name)
        found = path.read_bytes()
        changed = change(found)
        assert changed != found, name
        path.write_bytes(changed)

    return harm


def json_file(name, change):
    """Returns a function that changes a JSON document."""

    def edited(found):
        document = json.loads(found)
        change(document)
        return json.dumps(document).encode()

    return text(name, edited)


def load_data(change):
    """Returns a function that changes the lines of the LoadData table."""
    return text("workspace/load_data_csv/*/*/load_data.csv", lambda found: b"\r\n".join(change(found.split(b"\r\n"))))


def links_and_pipes(screen):
    os.mkfifo(screen.folder / "P1/B02_s3_w1.png")
    (screen.folder / "P1/B02_s4_w1.png").symlink_to(Path("/etc/hostname"))
    Path(os.fsdecode(os.fsencode(screen.folder) + b"/P1/caf\xe9_s1_w1.png")).touch()


def row_group(screen):
    """Damages the images of the first row group."""
    path = next(iter(sorted(screen.landing.glob("train-*.parquet"))))
    import pyarrow.parquet as pq

    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    images = next(column for column in columns if column.path_in_schema == "jp2.bytes")
    start = images.dictionary_page_offset or images.data_page_offset
    whole = bytearray(path.read_bytes())
    whole[start + 40 : start + 240] = bytes(200)
    path.write_bytes(whole)


def parquet(change):
    """Returns a function that changes the first Parquet file as a table."""

    def harm(screen):
        import pyarrow.parquet as pq

        path = next(iter(sorted(screen.landing.glob("train-*.parquet"))))
        pq.write_table(change(pq.read_table(path)), path, row_group_size=5)

    return harm


def null_image(table):
    import pyarrow as pa

    images = table["jp2"].to_pylist()
    return table.set_column(1, "jp2", pa.array([None, *images[1:]], type=table["jp2"].type))


def inner_chunk(screen):
    """Marks one chunk of a shard as missing in the shard's index, which is at its end."""
    path = screen.folder / "P001.ome.zarr/A/1/0/0/c/0/0/0/0/0"
    whole = bytearray(path.read_bytes())
    n_chunks = 4
    index = whole[-16 * n_chunks - 4 : -4]
    index[16:32] = b"\xff" * 16
    whole[-16 * n_chunks - 4 :] = index + struct.pack("<I", index_checksum(bytes(index)))
    path.write_bytes(whole)


def index_checksum(content):
    """Returns the CRC32C that ends a shard's index."""
    import google_crc32c

    return google_crc32c.value(content)


def attributes(path, change):
    """Returns a function that changes the OME metadata of a group."""
    return json_file(f"{path}/zarr.json", lambda document: change(document["attributes"]["ome"]))


def doses(**by_plate):
    """Returns a function that sets the concentration of well B02, plate by plate."""

    def harm(screen):
        for plate, dose in by_plate.items():
            screen.set_cells(lambda row, p=plate: row["well"] == "B02" and row["plate"] == p, concentration_um=dose)

    return harm


def in_two_folders(screen):
    (path,) = screen.folder.rglob(FIRST_FILE)
    other = path.parents[2] / "of-a-copy/other"
    other.mkdir(parents=True)
    (other / path.name).write_bytes(path.read_bytes())


def of_other_plate(lines):
    changed = lines[1].replace(b"BR00116991,A01,1", b"BR9,A01,1").replace(b"Measurement1", b"Measurement2")
    return [*lines[:-1], changed, b""]


def without_plate_map(screen):
    (path,) = screen.folder.glob(f"{PLATE_MAPS}/barcode_platemap.csv")
    path.write_text(path.read_text().replace("JUMP-Target-1_compound_platemap", ""))


def ambiguous(screen):
    in_two_folders(screen)
    load_data(lambda lines: [line.replace(b"/Images", b"").replace(b"Measurement1", b"M") for line in lines])(screen)
