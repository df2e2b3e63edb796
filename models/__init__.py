"""What is attacked: units, networks, recipes, training, and the registry of trained models.

Knows neither `attacks` nor `benchmark`. Images enter as (N, C, H, W) float32 in [0, 1]; logits (N, K) come out.
"""
