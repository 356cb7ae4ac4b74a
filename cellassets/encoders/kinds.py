"""The kinds of encoders and what each needs to run. Imports nothing heavy: sensors and schedulers read it.

`loading.py` makes an encoder of each kind.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class EncoderKind:
    """A kind of encoder.

    Attributes:
        name: the kind, as `encoder.json` and the model's tag name it.
        needs_gpu: whether it belongs on a GPU where there is one. Other kinds must not wait for a GPU.
    """

    name: str
    needs_gpu: bool


ENCODER_KINDS = {
    kind.name: kind
    for kind in (
        EncoderKind("network", needs_gpu=True),
        EncoderKind("classical", needs_gpu=False),
        EncoderKind("container", needs_gpu=False),  # the GPU belongs to the pod that the run starts, not to the run
        EncoderKind("profiles", needs_gpu=False),
        EncoderKind("exported", needs_gpu=True),
        EncoderKind("huggingface", needs_gpu=True),
        EncoderKind("onnx", needs_gpu=False),  # ONNX Runtime computes on the CPU here
    )
}


def needs_gpu(kind: str) -> bool:
    """Returns whether encoders of this kind belong on a GPU; True for a kind that is not known here.

    Args:
        kind: `kind` of a model in the registry.
    """
    return kind not in ENCODER_KINDS or ENCODER_KINDS[kind].needs_gpu
