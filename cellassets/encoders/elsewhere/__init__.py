"""Models that were trained elsewhere: safetensors with an architecture, torch.export, ONNX, Hugging Face folders.

`declaration.py` has what people write, `registering.py` makes a model folder of it, `encoder.py` embeds with it.
"""
