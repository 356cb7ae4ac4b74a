"""A program of torch.export is read as data: what hostile archives hold is never executed, and operators are chosen."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from cellassets.encoders.elsewhere.aten_operators import operator_named
from cellassets.encoders.elsewhere.declaration import Output
from cellassets.encoders.elsewhere.exported_program import ExportedProgram
from cellassets.encoders.registering import check_model
from cellassets.errors import EncoderError


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def rewrite(path, changes, *, compression=zipfile.ZIP_STORED):
    """Changes entries of an archive: by bytes, or by a function of the JSON that is there."""
    with zipfile.ZipFile(path) as opened:
        entries = {name: opened.read(name) for name in opened.namelist()}
    for suffix, change in changes.items():
        (name,) = [one for one in entries if one.endswith(suffix)]
        if callable(change):
            described = json.loads(entries[name])
            change(described)
            entries[name] = json.dumps(described).encode()
        else:
            entries[name] = change
    with zipfile.ZipFile(path, "w", compression) as made:
        for name, content in entries.items():
            made.writestr(name, content)


@pytest.fixture
def program(declare):
    """The file of a program, and what it computes."""
    file, plain = declare("exported")
    return file.parent / "program.pt2", plain


def as_pickle(described):
    described["config"]["convolution.weight"]["use_pickle"] = True


def nodes(described):
    return described["graph_module"]["graph"]["nodes"]


def test_torch_itself_would_execute_what_is_in_an_archive(program, tmp_path):
    path, _ = program
    stream = io.BytesIO()
    torch.save(Bomb(tmp_path / "harmed"), stream)
    rewrite(path, {"weights/weight_0": stream.getvalue(), "model_weights_config.json": as_pickle})
    with pytest.raises(Exception):  # noqa: B017, PT011  whatever it stumbles over afterwards
        torch.export.load(path)
    assert (tmp_path / "harmed").exists()


def test_a_pickled_weight_is_refused_and_never_opened(program, tmp_path):
    path, _ = program
    stream = io.BytesIO()
    torch.save(Bomb(tmp_path / "harmed"), stream)
    rewrite(path, {"weights/weight_0": stream.getvalue(), "model_weights_config.json": as_pickle})
    with pytest.raises(EncoderError, match="pickles are never opened"):
        check_model(path.parent / "exported_model.yaml")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("prefix", ["custom_obj_0", "opaque_obj_0", "tensor_0"])
def test_objects_among_the_constants_are_refused_and_never_opened(program, tmp_path, prefix):
    path, _ = program
    config = {"config": {"k": {"path_name": prefix, "is_param": False, "use_pickle": True, "tensor_meta": None}}}
    rewrite(path, {"model_constants_config.json": json.dumps(config).encode()})
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr(f"program/data/constants/{prefix}", pickle.dumps(Bomb(tmp_path / "harmed")))
    with pytest.raises(EncoderError, match="k is stored as a pickle or is not a tensor"):
        ExportedProgram(path, Output())
    assert not (tmp_path / "harmed").exists()


def test_example_inputs_and_expressions_are_not_looked_at(program, tmp_path):
    path, plain = program
    harm = f"__import__('pathlib').Path({str(tmp_path / 'harmed')!r}).touch()"

    def hostile(described):
        for sizes in described["graph_module"]["graph"]["tensor_values"].values():
            for side in sizes["sizes"]:
                if "as_expr" in side:
                    side["as_expr"]["expr_str"] = harm
        described["guards_code"] = [harm]

    rewrite(path, {"sample_inputs/model.pt": pickle.dumps(Bomb(tmp_path / "harmed")), "models/model.json": hostile})
    images = torch.randn(3, 6, 48, 48)
    with torch.inference_mode():
        assert torch.equal(ExportedProgram(path, Output())(images), plain(images))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.aten.save.default",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.set_.source_Storage",
        "torch.ops.aten.conv2d.default.__class__",
        "torch.ops.load_library",
        "torch.ops.quantized.linear.default",
        "torch.ops.higher_order.cond",
        "_operator.attrgetter",
        "builtins.eval",
        "math.sqrt; x",
        "",
    ],
)
def test_an_operator_that_does_more_than_compute_is_refused(program, target):
    path, _ = program
    rewrite(path, {"models/model.json": lambda described: nodes(described)[0].update(target=target)})
    with pytest.raises(EncoderError, match="allowed are operators of ATen"):
        ExportedProgram(path, Output())


def test_operators_that_compute_are_found():
    for target in ("conv2d.padding", "gelu.default", "_softmax.default", "div.Tensor_mode", "sym_size.int"):
        assert callable(operator_named(f"torch.ops.aten.{target}"))
    assert operator_named("_operator.mul")(3, 4) == 12


def strided_far(described):
    meta = described["config"]["convolution.weight"]["tensor_meta"]
    meta["storage_offset"] = {"as_int": 1 << 40}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_weights_config.json": strided_far}, "not an archive of torch.export.save that can be read"),
        ({"weights/weight_0": b"123"}, "not an archive of torch.export.save that can be read"),
        ({"models/model.json": b"[" * 100_000}, "not an archive of torch.export.save that can be read"),
        ({"models/model.json": lambda d: d["schema_version"].update(major=9)}, "schema version 9, .* expected 8"),
        ({"models/model.json": lambda d: d["graph_module"].pop("signature")}, "not as torch.export writes it"),
        ({"models/model.json": lambda d: nodes(d)[0].pop("inputs")}, "not as torch.export writes it"),
    ],
)
def test_a_damaged_archive_is_refused(program, changes, message):
    path, _ = program
    rewrite(path, changes)
    with pytest.raises(EncoderError, match=message):
        ExportedProgram(path, Output())


def test_a_graph_that_names_what_is_not_there_is_refused(program):
    path, _ = program
    unknown = {"arg": {"as_tensor": {"name": "nobody"}}, "name": "input", "kind": 1}
    rewrite(path, {"models/model.json": lambda described: nodes(described)[-1].update(inputs=[unknown])})
    with pytest.raises(EncoderError, match="of the program failed: 'nobody'"):
        check_model(path.parent / "exported_model.yaml")


def test_other_files_are_refused(program, tmp_path):
    path, _ = program
    rewrite(path, {}, compression=zipfile.ZIP_DEFLATED)  # could expand without limit
    with pytest.raises(EncoderError, match="compressed or encrypted"):
        ExportedProgram(path, Output())
    torch.save({"weight": torch.ones(1)}, path)
    with pytest.raises(EncoderError, match=r"no models/model.json .* expected the file of torch.export.save"):
        ExportedProgram(path, Output())
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "harmed")))
    with pytest.raises(EncoderError, match="not an archive"):
        ExportedProgram(path, Output())
    assert not (tmp_path / "harmed").exists()


class Fixed(torch.nn.Module):
    def forward(self, images):
        features = images.mean(dim=(2, 3))
        return torch.where(features > 0, features, float("-inf")), features.unsqueeze(1).expand(-1, 4, -1)


@pytest.mark.filterwarnings("ignore:`isinstance:FutureWarning")  # of torch itself, in run_decompositions
def test_a_batch_of_one_and_the_second_output_are_supported(program):
    path, _ = program
    torch.export.save(torch.export.export(Fixed(), (torch.zeros(1, 6, 48, 48),)).run_decompositions(), path)
    second = ExportedProgram(path, Output(name="1", pool="first"))
    assert second.shape == (1, 6, 48, 48)
    images = torch.randn(1, 6, 48, 48)
    assert torch.equal(second(images), Fixed()(images)[1])
    assert torch.equal(ExportedProgram(path, Output())(images), Fixed()(images)[0])


def test_two_inputs_are_refused(program):
    class Two(torch.nn.Module):
        def forward(self, images, others):
            return (images + others).mean(dim=(2, 3))

    path, _ = program
    torch.export.save(torch.export.export(Two(), (torch.zeros(2, 6, 8, 8),) * 2), path)
    with pytest.raises(EncoderError, match="the program has 2 inputs; expected one"):
        ExportedProgram(path, Output())
