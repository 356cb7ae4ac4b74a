"""Weakly supervised training: recipe, data, backbones, losses, module, run, checkpoint."""
