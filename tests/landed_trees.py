"""Writes small landing folders of public datasets and of microscopes: real names, image sizes, types and columns."""

import csv
import io
import json
from pathlib import Path
from zlib import crc32

import imagecodecs
import numpy as np
import tifffile

RXRX3 = "well_id,experiment_name,plate,address,gene,treatment,SMILES,concentration,perturbation_type,cell_type"
PLATE_MAP = "well,perturbation_id,perturbation_kind,compound_id,concentration_um,control_kind,cell_type"


def pixels(name: str, side: int, dtype: str = "uint8", top: int = 200) -> np.ndarray:
    """Returns an image that compresses well and differs from that of every other name."""
    seed = crc32(name.encode())
    y, x = np.ogrid[:side, :side]
    wave = np.sin(x / (7 + seed % 1013 / 100)) + np.cos(y / (5 + seed % 1777 / 100)) + 2
    return (wave * top / 4).astype(dtype)


def write_table(path: Path, header: str, rows: list[tuple]) -> None:
    """Writes a CSV table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header.split(","))
        writer.writerows(rows)


def write(path: Path, content: bytes) -> None:
    """Writes a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_pngs(folder: Path, wells, *, side, n_sites, n_channels, dtype="uint8", top=200) -> None:
    """Writes images with RxRx's names: one plate, the given wells."""
    for well in wells:
        for site in range(1, n_sites + 1):
            for channel in range(1, n_channels + 1):
                name = f"Plate1/{well}_s{site}_w{channel}.png"
                write(folder / name, imagecodecs.png_encode(pixels(name, side, dtype, top), level=1))


def rxrx1(landing: Path) -> str:
    experiment = "HUVEC-1"
    write_pngs(landing / experiment, ("B02", "M23"), side=512, n_sites=2, n_channels=6)
    header = "site_id,well_id,cell_type,dataset,experiment,plate,well,site,well_type,sirna,sirna_id"
    rows = [
        (f"{experiment}_1_{well}_{site}", f"{experiment}_1_{well}", "HUVEC", "train", experiment, 1, well, site, *what)
        for well, what in (("B02", ("negative_control", "EMPTY", 1138)), ("M23", ("treatment", "s21721", 407)))
        for site in (1, 2)
    ]
    write_table(landing / "metadata.csv", header, rows)
    return experiment


def rxrx2(landing: Path) -> str:
    experiment = "HUVEC-1"
    write_pngs(landing / experiment, ("AA02", "B03"), side=1024, n_sites=4, n_channels=6)
    header = "site_id,well_id,cell_type,experiment,plate,well,site,treatment,treatment_conc"
    rows = [
        (f"{experiment}_1_{well}_{site}", f"{experiment}_1_{well}", "HUVEC", experiment, 1, well, site, *what)
        for well, what in (("AA02", ("TNF", 0.001)), ("B03", ("", "")))
        for site in range(1, 5)
    ]
    write_table(landing / "metadata.csv", header, rows)
    return experiment


def _rxrx19(landing: Path, experiment: str, wells, *, side, n_sites, n_channels) -> str:
    write_pngs(landing / experiment, [well for well, _ in wells], side=side, n_sites=n_sites, n_channels=n_channels)
    header = "site_id,well_id,cell_type,experiment,plate,well,site,disease_condition,treatment,treatment_conc,SMILES"
    cell_type = experiment.partition("-")[0]
    rows = [
        (f"{experiment}_1_{well}_{site}", f"{experiment}_1_{well}", cell_type, experiment, 1, well, site, *what)
        for well, what in wells
        for site in range(1, n_sites + 1)
    ]
    write_table(landing / "metadata.csv", header, rows)
    return experiment


def rxrx19a(landing: Path) -> str:
    wells = [
        ("AA02", ("Active SARS-CoV-2", "Remdesivir", 3.0, "CCC(CC)COC(=O)C(C)N")),
        ("B03", ("Active SARS-CoV-2", "", "", "")),
        ("C04", ("Mock", "", "", "")),
        ("D05", ("UV Inactivated SARS-CoV-2", "", "", "")),
    ]
    return _rxrx19(landing, "HRCE-1", wells, side=1024, n_sites=4, n_channels=5)


def rxrx19b(landing: Path) -> str:
    wells = [
        ("AA02", ("storm-severe", "Ruxolitinib", 0.3, "N#CC[C@H](C1CCCC1)n1cc(cn1)")),
        ("B03", ("storm-severe", "", "", "")),
        ("C04", ("healthy", "", "", "")),
        ("D05", ("", "", "", "")),
    ]
    return _rxrx19(landing, "HUVEC-1", wells, side=2048, n_sites=1, n_channels=6)


def _rxrx3_rows(experiment: str) -> list[tuple]:
    kind = "CRISPR" if experiment.startswith("gene") else "COMPOUND"
    wells = {
        "gene": [("AA02", "RPLP2", "RPLP2_guide_4", "", ""), ("P28", "EMPTY_control", "EMPTY_control", "", "")],
        "compound": [
            ("D20", "", "Dequalinium", "CC1=[N+](CC)C2=CC |c:1,13,21,t:16|", 0.25),
            ("E20", "", "Dequalinium", "CC1=[N+](CC)C2=CC |c:1,13,21,t:16|", 1),
            ("U08", "", "EMPTY_control", "", ""),
            ("B08", "", "CRISPR_control", "", ""),
        ],
    }[experiment.partition("-")[0]]
    return [(f"{experiment}_1_{well}", experiment, 1, well, *what, kind, "HUVEC") for well, *what in wells]


def rxrx3(landing: Path) -> str:
    experiment = "gene-079"
    write_pngs(landing / experiment, ("AA02", "P28"), side=2048, n_sites=1, n_channels=6, dtype="uint16", top=12_000)
    write_table(landing / "metadata.csv", RXRX3, [*_rxrx3_rows("gene-079"), *_rxrx3_rows("compound-001")])
    return experiment


def rxrx3_core(landing: Path, *, side: int = 512) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    experiment, rows = "compound-001", _rxrx3_rows("compound-001")
    names = [f"{experiment}/Plate1/{row[3]}_s1_{channel}" for row in rows for channel in range(1, 7)]
    names += [f"gene-079/Plate1/AA02_s1_{channel}" for channel in range(1, 7)]
    images = [
        imagecodecs.jpeg2k_encode(pixels(name, side), level=0, codecformat="jp2", reversible=True) for name in names
    ]
    content = pa.array([{"bytes": image, "path": None} for image in images])
    landing.mkdir(parents=True, exist_ok=True)
    half = len(names) // 2
    for number, part in enumerate((slice(0, half), slice(half, None))):
        table = pa.table({"__key__": names[part], "jp2": content[part]})
        pq.write_table(table, landing / f"train-0000{number}-of-00002.parquet", row_group_size=5)
    write_table(landing / "metadata_rxrx3_core.csv", RXRX3, [*rows, *_rxrx3_rows("gene-079")])
    (landing / experiment).mkdir(parents=True)
    (landing / experiment / "_COMPLETE").touch()
    return experiment


def tiff(image: np.ndarray, **options) -> bytes:
    """Returns the bytes of a TIFF file."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, image, **options)
    return stream.getvalue()


JUMP_CHANNELS = {"DNA": 5, "ER": 4, "RNA": 3, "AGP": 1, "Mito": 2, "Brightfield": 7}


def jump(landing: Path, *, side: int = 1080) -> str:
    experiment, batch, plate = "2020_11_04_CPJUMP1", "2020_11_04_CPJUMP1", "BR00116991"
    folder, measured = landing / experiment, f"{plate}__2020-11-05T19_51_35-Measurement1"
    there = f"/home/ubuntu/bucket/projects/2019_07_11_JUMP-CP/{batch}/images/{measured}/Images"
    header = ",".join(
        ["Metadata_Plate", "Metadata_Well", "Metadata_Site"]
        + [f"{what}_Orig{channel}" for channel in JUMP_CHANNELS for what in ("FileName", "PathName")]
    )
    rows = []
    for well, (row, column) in {"A01": (1, 1), "A02": (1, 2), "P24": (16, 24)}.items():
        for site in (1, 2):
            line = [plate, well, site]
            for number in JUMP_CHANNELS.values():
                name = f"r{row:02d}c{column:02d}f{site:02d}p01-ch{number}sk1fk1fl1.tiff"
                image = pixels(name, side, "uint16", 12_389)
                write(folder / f"images/{batch}/images/{measured}/Images/{name}", tiff(image, compression="lzw"))
                line += [name, there]
            rows.append(tuple(line))
    write_table(folder / f"workspace/load_data_csv/{batch}/{plate}/load_data.csv", header, rows)
    maps = folder / f"workspace/metadata/platemaps/{batch}"
    write_table(
        maps / "barcode_platemap.csv",
        "Assay_Plate_Barcode,Plate_Map_Name",
        [(plate, "JUMP-Target-1_compound_platemap")],
    )
    platemap = [
        "well_position\tbroad_sample\tsolvent",
        "A01\tBRD-A86665761-001-01-1\tDMSO",
        "A02\t\tDMSO",
        "P24\tBRD-K1\tDMSO",
    ]
    write(maps / "platemap/JUMP-Target-1_compound_platemap.txt", ("\n".join(platemap) + "\n").encode())
    compounds = [
        "broad_sample\tInChIKey\tpert_iname\tpubchem_cid\ttarget_list\tpert_type\tcontrol_type\tsmiles",
        "BRD-A86665761-001-01-1\tTZDUHAJSIBHXDL\tgabapentin-enacarbil\t9883933\tCACNA1A|CACNA1B\ttrt\tNA\tCC(OC)C",
        "BRD-K1\tABC\tpositive-one\t1\tAURKA\tcontrol\tposcon_diverse\tCC",
    ]
    write(folder / "workspace/metadata/JUMP-Target-1_compound_metadata.tsv", ("\n".join(compounds) + "\n").encode())
    (folder / "experiment.yaml").write_text("constants: {cell_type: U2OS}\n")
    return experiment


def _plate_map(folder: Path, wells=("A01", "B03")) -> None:
    rows = [
        (wells[0], "DMSO", "compound", "", "", "negative", "U2OS"),
        (wells[1], "aspirin 10 uM", "compound", "aspirin", 10, "", "U2OS"),
    ]
    write_table(folder / "plate_map.csv", PLATE_MAP, rows)


def opera_phenix(landing: Path, *, n_planes: int = 1) -> str:
    experiment = "phenix-1"
    folder = landing / experiment
    for row, column in ((1, 1), (2, 3)):
        for site in (1, 2):
            for plane in range(1, n_planes + 1):
                for channel in (1, 2):
                    name = f"r{row:02d}c{column:02d}f{site:02d}p{plane:02d}-ch{channel}sk1fk1fl1.tiff"
                    image = pixels(name, 1080, "uint16", 4095)
                    write(
                        folder / "P001__2021-03-01T10_00_00-Measurement 1".replace(" ", "") / "Images" / name,
                        tiff(image),
                    )
    (folder / "P001__2021-03-01T10_00_00-Measurement1" / "Images" / "Index.idx.xml").write_text(
        "<EvaluationInputData/>"
    )
    _plate_map(folder)
    channels = [{"key": "1", "name": "Mito"}, {"key": "2", "name": "DAPI", "is_dna": True}]
    (folder / "experiment.yaml").write_text(
        json.dumps(
            {
                "channels": channels,
                "pixel_size_um": 0.598,
                **({"z_projection": "maximum"} if n_planes > 1 else {}),
            }
        )
    )
    return experiment


def imagexpress(landing: Path) -> str:
    experiment = "ix-1"
    folder = landing / experiment
    for well in ("A01", "B03"):
        for site in (1, 2):
            for channel in (1, 2, 3):
                name = f"screen_{well}_s{site}_w{channel}8C4C4E5C-5B5E-4F42-A0F3-6D6D5F2A9B{channel}{site}.tif"
                write(folder / "P001/TimePoint_1" / name, tiff(pixels(name, 540, "uint16", 60_000), compression="zlib"))
                write(
                    folder / "P001/TimePoint_1" / f"screen_{well}_s{site}_w{channel}_thumb{well}{channel}.tif", b"thumb"
                )
    _plate_map(folder)
    return experiment


def ome_zarr(landing: Path, *, version: str = "0.5", side: int = 540, shards: bool = False) -> str:
    import zarr

    experiment = f"zarr-{version}".replace(".", "-")
    root = zarr.open_group(
        str(landing / experiment / "P001.ome.zarr"), mode="w", zarr_format=3 if version == "0.5" else 2
    )

    def set_ome(group, content):
        content = {"version": version, **content}
        group.attrs.update({"ome": content} if version == "0.5" else content)

    wells = [
        {"path": path, "rowIndex": row, "columnIndex": column} for path, row, column in (("A/1", 0, 0), ("B/3", 1, 2))
    ]
    plate = {"name": "P001", "rows": [{"name": "A"}, {"name": "B"}], "columns": [{"name": str(n)} for n in (1, 2, 3)]}
    set_ome(root, {"plate": {**plate, "wells": wells, "field_count": 2}})
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}] + [
        {"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"
    ]
    for well in wells:
        group = root.create_group(well["path"])
        set_ome(group, {"well": {"images": [{"path": "0"}, {"path": "1"}]}})
        for field in ("0", "1"):
            image = group.create_group(field)
            scale = {"type": "scale", "scale": [1, 1, 1, 0.65, 0.65]}
            scales = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
            channels = [{"label": "DAPI", "color": "0000FF"}, {"label": "ER", "color": "00FF00"}]
            set_ome(image, {"multiscales": [scales], "omero": {"channels": channels}})
            data = np.stack([pixels(f"{well['path']}/{field}/{c}", side, "uint16", 20_000) + 1 for c in range(2)])[
                None, :, None
            ]
            chunks = (1, 1, 1, side // 2, side // 2)
            shard = (1, 1, 1, side, side) if shards else None
            array = image.create_array("0", shape=data.shape, chunks=chunks, shards=shard, dtype="uint16")
            array[...] = data
    _plate_map(landing / experiment)
    return experiment
