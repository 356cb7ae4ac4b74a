"""The model registry: MLflow's, seen through four functions. Model folders go in, model folders come out.

A model folder holds `encoder.json` (what kind of encoder, its preprocessing, its embedding width) and
`weights.safetensors` where the kind has weights. Nothing here knows torch; `cellassets.embedding.encoders` turns a
folder into an encoder.
"""
