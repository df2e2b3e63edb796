"""Data-dependent initialisation: the first batch decides the scale of every unit, layer by layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustboard.models.architectures.blocks import Normalisation, normalised_maps


@torch.no_grad()
def initialise_from(network: nn.Module, images: Tensor) -> None:
    """Make every unit's pre-activation have mean 0 and variance 1 over `images` (N, C, H, W), in evaluation mode, in place.

    Where batch normalisation follows a layer, its running mean and variance become those of the batch; a convolution or linear
    map without it has its weights scaled and its bias shifted (Mishkin & Matas 2016; Krähenbühl et al. 2016). Each layer sees
    what the ones before it, already set, make of the images. A unit that is constant over the batch is only shifted.
    """
    was_training = network.training
    network.eval()
    followed = {block[place] for block, place in normalised_maps(network)}
    handles = []
    for module in network.modules():
        if isinstance(module, Normalisation):
            handles.append(module.register_forward_pre_hook(_set_running))
        elif isinstance(module, nn.Conv2d | nn.Linear) and module not in followed:
            handles.append(module.register_forward_hook(_rescale))
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
        network.train(was_training)


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel (C,) of (N, C, …), the variance 1 where it is 0."""
    flat = values.float().movedim(1, 0).flatten(1)
    variance, mean = torch.var_mean(flat, dim=1, correction=0)
    return mean, torch.where(variance > 0, variance, 1.0)


def _set_running(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    assert isinstance(module, Normalisation)
    assert module.running_mean is not None
    assert module.running_var is not None
    mean, variance = _moments(inputs[0])
    module.running_mean.copy_(mean)
    # Normalisation adds its eps before it takes the root.
    module.running_var.copy_((variance - module.eps).clamp_min(0))


def _rescale(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    assert isinstance(module, nn.Conv2d | nn.Linear)
    mean, variance = _moments(output)
    scale = variance.rsqrt()
    module.weight.mul_(scale.reshape(-1, *[1] * (module.weight.dim() - 1)))
    if module.bias is None:
        return output * scale.reshape(1, -1, *[1] * (output.dim() - 2))
    module.bias.copy_((module.bias - mean) * scale)
    shape = (1, -1, *[1] * (output.dim() - 2))
    return (output - mean.reshape(shape)) * scale.reshape(shape)
