"""Opens the files of a model from elsewhere: from a model folder to what computes its vectors."""

from pathlib import Path

from cellassets.encoders.elsewhere.declaration import ElsewhereSpec
from cellassets.encoders.elsewhere.forward import GRAPH, PROGRAM, WEIGHTS, Forward


def forward_of(folder: Path, spec: ElsewhereSpec) -> Forward:
    """Returns what computes the vectors of the model in a folder.

    Raises:
        EncoderError: the package that it needs is not installed, or the file cannot be used.
        RegistryError: a file is missing or damaged.
    """
    if spec.kind == "onnx":
        from cellassets.encoders.elsewhere.onnx_graph import OnnxGraph

        return OnnxGraph(folder / GRAPH, spec.output)
    if spec.kind == "exported":
        from cellassets.encoders.elsewhere.exported_program import ExportedProgram

        return ExportedProgram(folder / PROGRAM, spec.output)
    if spec.kind == "network":
        from cellassets.encoders.elsewhere.torch_modules import backbone_forward

        return backbone_forward(folder / WEIGHTS, spec)
    from cellassets.encoders.elsewhere.hugging_face import hugging_face_forward

    return hugging_face_forward(folder, spec)
