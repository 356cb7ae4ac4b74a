"""A stored tiny experiment, and folders of models: a network of random weights and classical features."""

import pytest
import safetensors.torch
import torch
import yaml
from upath import UPath

from cellassets.encoders.embed import embed_store
from cellassets.encoders.loading import load_encoder
from cellassets.images.pack import Packing, pack_plates
from cellassets.images.reader import ExperimentStore
from cellassets.registry import Registry
from cellassets.screens.ingest import check_experiment
from cellassets.screens.policy import IngestPolicy
from cellassets.synthetic.presets import tiny_design
from cellassets.synthetic.screen import write_screen
from cellassets.training.backbone import build_network, seeded
from cellassets.training.classical import set_up_classical
from cellassets.training.recipe import ClassicalParameters, ClassicalRecipe, ResNetBackbone

EXPERIMENT = "HUVEC-1"


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("embedding")
    write_screen(tiny_design(image_size=64), root / "landing", experiment_ids=[EXPERIMENT])
    manifest = check_experiment(UPath(root / "landing"), EXPERIMENT, policy=IngestPolicy())
    packing = Packing(UPath(root / "landing" / EXPERIMENT), UPath(root / "packed"), manifest.imaging)
    packed = pack_plates(manifest.images, manifest.wells, packing)
    return ExperimentStore.open(packing.target, packed.files, EXPERIMENT)


@pytest.fixture(scope="session")
def models(tmp_path_factory, save_network):
    """Folder of each model by its key: random.v1 (6 channels), four.v1 (4 channels), classical.v1."""
    root = tmp_path_factory.mktemp("models")
    recipe = ClassicalRecipe(name="classical", parameters=ClassicalParameters(families=("intensity", "sizeshape")))
    return {
        "random.v1": save_network(root / "six"),
        "four.v1": save_network(root / "four", n_channels=4),
        "classical.v1": set_up_classical(recipe, root / "classical").folder,
    }


@pytest.fixture
def embed(store, models):
    """Embeds the experiment into a folder: `embed(folder, "random.v1", sites_per_part=20)`."""

    def embed(folder, model_key="random.v1", **options):
        encoder = load_encoder(models[model_key])
        try:
            return embed_store(store, encoder, UPath(folder), model_key=model_key, **options)
        finally:
            encoder.close()

    return embed


class SmallConvolution(torch.nn.Module):
    """Six channels to eight features, or tokens of them; the same numbers every time."""

    def __init__(self):
        super().__init__()
        with seeded(4):
            self.convolution = torch.nn.Conv2d(6, 8, 3, padding=1)
            self.norm = torch.nn.BatchNorm2d(8)
        self.eval()

    def forward(self, images):
        return torch.relu(self.norm(self.convolution(images))).mean(dim=(2, 3))


def write_exported(folder):
    model = SmallConvolution()
    sizes = {0: torch.export.Dim("n", min=1, max=4096)}
    program = torch.export.export(model, (torch.zeros(2, 6, 48, 48),), dynamic_shapes=(sizes,))
    torch.export.save(program, folder / "program.pt2")
    return {"file": "program.pt2"}, model


def write_onnx(folder):
    model = SmallConvolution()
    from onnx import TensorProto, helper, numpy_helper

    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items() if tensor.ndim}
    names = ("weight", "bias", "running_mean", "running_var")
    nodes = [
        helper.make_node("Conv", ["x", "convolution.weight", "convolution.bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["a", *(f"norm.{name}" for name in names)], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["features"]),
    ]
    images = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6, None, None])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 8])
    initial = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "small", [images], [features], initial)
    opset = [helper.make_opsetid("", 18)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=10)
    (folder / "small.onnx").write_bytes(made.SerializeToString())
    return {"file": "small.onnx"}, model


def write_huggingface(folder):
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        num_channels=6, image_size=48, patch_size=16, hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )  # fmt: skip
    with seeded(5):
        model = ViTMAEForPreTraining(config).eval()
    (folder / "mae").mkdir()
    config.save_pretrained(folder / "mae")
    safetensors.torch.save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "mae/model.safetensors"
    )
    encoder = model.vit
    encoder.config.mask_ratio = encoder.embeddings.config.mask_ratio = 0.0

    def plain(images):
        order = torch.arange(9.0).expand(len(images), -1)
        return encoder(images, noise=order).last_hidden_state[:, 1:].mean(dim=1)

    return {"folder": "mae", "output": {"pool": "mean", "skip_tokens": 1}}, plain


def write_network(folder):
    backbone = ResNetBackbone(stem_width=8, widths=(8, 16), depths=(1, 1))
    network = build_network(backbone, n_channels=6, embedding_dim=12, trained_px=48, seed=3).eval()
    safetensors.torch.save_file(network.state_dict(), folder / "trained.safetensors")
    keys = {"backbone": backbone.model_dump(mode="json"), "embedding_dim": 12, "trained_px": 48}
    return {"file": "trained.safetensors", **keys}, network


WRITERS = {
    "network": write_network,
    "exported": write_exported,
    "onnx": write_onnx,
    "huggingface": write_huggingface,
}


@pytest.fixture(params=list(WRITERS))
def kind(request):
    """Each kind of a model from elsewhere."""
    return request.param


@pytest.fixture
def declare(tmp_path):
    """Writes a model from elsewhere: `declare("onnx", input={...})` gives its YAML file, and plain torch on images.

    It takes the centre of 48 x 48 pixels of six channels, normalised by site.
    """

    def declare(kind, /, **changes):
        folder = tmp_path / "declared"
        folder.mkdir(exist_ok=True)
        keys, plain = WRITERS[kind](folder)
        size = {"size": "centre_crop", "height_px": 48, "width_px": 48}
        declared = {"kind": kind, **keys, "input": {"n_channels": 6, **size}, **changes}
        file = folder / f"{kind}_model.yaml"
        file.write_text(yaml.safe_dump(declared))
        return file, plain

    return declare


@pytest.fixture
def registry(tmp_path, empty_home):
    """A registry of this test's own."""
    (tmp_path / "mlflow.db").write_bytes((empty_home / "mlflow.db").read_bytes())
    return Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", (tmp_path / "models").as_uri())
