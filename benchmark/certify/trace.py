"""From an `nn.Module` to a chain of layers, by torch.fx. What has no bounds here is refused by name."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from robustboard.benchmark.certify.layers import (
    Affine,
    Layer,
    MaxPool,
    Relu,
    Shape,
    averaging,
    convolution,
    dense,
    flattening,
    scaling,
)
from robustboard.benchmark.errors import InputError, first_line
from robustboard.models.convolution import ImageConv2d
from robustboard.models.pooling import MaxPool2x2

SUPPORTED = (
    "Linear, Conv2d without dilation, BatchNorm in evaluation mode, ReLU, MaxPool2d and AvgPool2d without padding, "
    "Flatten, and arithmetic with constants"
)
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout2d)


class UncertifiableError(InputError):
    """A network holds something that no bound is known for here."""


def trace(network: nn.Module, shape: Shape) -> list[Layer]:
    """The layers of a network that maps (N, *shape) to logits (N, K), in order, in float64 on the CPU.

    The network must be in evaluation mode. Raises `UncertifiableError` naming the first module or function that is not
    supported, and where the network is no chain: a branch, or control flow that depends on the image; or where it is more
    than its modules: a hook, or a forward that was put in another's place.
    """
    for name, module in network.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise UncertifiableError(
                f"the module {name or 'itself'!r} has a forward hook, which no bound sees: write it as a layer"
            )
    try:
        graph = _Tracer().trace(network)
    except Exception as trouble:  # a forward function can do anything
        raise UncertifiableError(
            f"the network cannot be traced ({first_line(trouble)}): a certificate needs a chain"
        ) from trouble
    layers = _Walk(network, shape).layers(graph)
    _compare(network, layers, shape)
    return layers


def _compare(network: nn.Module, layers: Sequence[Layer], shape: Shape) -> None:
    """Refuse layers that answer to images of noise otherwise than the network does."""
    images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    parameter = next(network.parameters(), images)
    with torch.no_grad():
        answers = network(images.to(parameter)).double().cpu()
    values = images.double()
    for layer in layers:
        values = layer(values)
    if values.shape != answers.shape or float((values - answers).abs().max()) > 1e-4 * (1 + float(answers.abs().max())):
        raise UncertifiableError("the network's answers are not those of its layers: something in its forward is not seen here")


class _Tracer(fx.Tracer):
    """Torch's, to which a convolution and a pooling of this project are as much layers as its own."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in (ImageConv2d, MaxPool2x2) or super().is_leaf_module(m, module_qualified_name)


class _Walk:
    """One walk over a traced graph: constants are computed, what depends on the image becomes layers."""

    def __init__(self, network: nn.Module, shape: Shape) -> None:
        self._network = network
        self._shape = shape
        self._layers: list[Layer] = []
        self._constants: dict[fx.Node, Any] = {}
        self._last: fx.Node | None = None

    def layers(self, graph: fx.Graph) -> list[Layer]:
        for node in graph.nodes:
            if node.op == "placeholder":
                self._last = node
            elif node.op == "get_attr":
                self._constants[node] = operator.attrgetter(str(node.target))(self._network)
            elif all(parent in self._constants for parent in node.all_input_nodes):
                self._constants[node] = self._computed(node)
            elif node.op == "output":
                if node.all_input_nodes != [self._last]:
                    raise UncertifiableError("the network returns something else than its last layer: a chain is needed")
            else:
                self._append(node)
        return self._layers

    def _computed(self, node: fx.Node) -> Any:
        values = fx.map_arg(node.args, self._constants.__getitem__)
        if node.op == "call_function" and callable(node.target):
            return node.target(*values, **node.kwargs)
        return getattr(values[0], str(node.target))(*values[1:], **node.kwargs)

    def _append(self, node: fx.Node) -> None:
        parents = [parent for parent in node.all_input_nodes if parent not in self._constants]
        if parents != [self._last]:
            raise UncertifiableError(f"the network branches at {node.name}: a certificate needs a chain of {SUPPORTED}")
        if node.op == "call_module":
            module = self._network.get_submodule(str(node.target))
            new = _from_module(module, self._shape)
        else:
            new = self._from_function(node)
        for layer in new:
            self._layers.append(layer)
            self._shape = layer.shape_out
        self._last = node

    def _from_function(self, node: fx.Node) -> Sequence[Layer]:
        if node.target in (torch.relu, F.relu, "relu"):
            return [Relu(self._shape)]
        if node.target in (torch.flatten, "flatten") and [*node.args[1:], *node.kwargs.values()] == [1]:
            return [flattening(self._shape)]
        if node.target in (operator.matmul, torch.matmul) and node.args[0] is self._last and len(self._shape) == 1:
            return [dense(self._constants[node.args[1]].T, None)]  # type: ignore[index]
        if node.target in _ARITHMETIC and len(node.args) == 2 and not node.kwargs:
            return self._arithmetic(node, *node.args)
        stack = node.meta.get("nn_module_stack") or {}
        owner = f" (in {list(stack.values())[-1][1].__name__})" if stack else ""
        raise _unsupported(f"{getattr(node.target, '__name__', node.target)}{owner}")

    def _arithmetic(self, node: fx.Node, left: Any, right: Any) -> Sequence[Layer]:
        constant = right if left is self._last else left
        value = torch.as_tensor(self._constants.get(constant, constant), dtype=torch.float64)
        value = value.squeeze(0) if value.dim() > len(self._shape) else value
        make = _ARITHMETIC[node.target] if left is self._last else _REVERSED.get(node.target)
        if make is None or torch.broadcast_shapes(value.shape, self._shape) != self._shape:
            raise _unsupported(f"{node.name} with a constant of shape {tuple(value.shape)}")
        scale, shift = make(value)
        return [scaling(self._shape, scale, shift)]


def _plus(value: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ones_like(value), value


def _minus(value: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ones_like(value), -value


def _times(value: Tensor) -> tuple[Tensor, Tensor]:
    return value, torch.zeros_like(value)


def _over(value: Tensor) -> tuple[Tensor, Tensor]:
    return 1 / value, torch.zeros_like(value)


def _from(value: Tensor) -> tuple[Tensor, Tensor]:
    return -torch.ones_like(value), value


_Make = Callable[[Tensor], tuple[Tensor, Tensor]]
_ARITHMETIC: dict[Any, _Make] = {
    **dict.fromkeys((operator.add, torch.add, "add"), _plus),
    **dict.fromkeys((operator.sub, torch.sub, "sub"), _minus),
    **dict.fromkeys((operator.mul, torch.mul, "mul"), _times),
    **dict.fromkeys((operator.truediv, torch.div, "div"), _over),
}
_REVERSED: dict[Any, _Make] = {operator.add: _plus, operator.sub: _from, operator.mul: _times}


def _from_module(module: nn.Module, shape: Shape) -> Sequence[Layer]:
    if isinstance(module, _NOTHING):
        return []
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return _from_normalisation(module, shape)
    return [_from_simple_module(module, shape)]


def _from_simple_module(module: nn.Module, shape: Shape) -> Layer:
    if isinstance(module, nn.Linear) and len(shape) == 1:
        return dense(module.weight, module.bias)
    if isinstance(module, nn.Conv2d):
        return _from_convolution(module, shape)
    if isinstance(module, nn.ReLU):
        return Relu(shape)
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1):
        return flattening(shape)
    return _from_pooling(module, shape)


def _from_convolution(module: nn.Conv2d, shape: Shape) -> Affine:
    if isinstance(module.padding, str) or module.padding_mode != "zeros" or set(module.dilation) != {1}:
        raise _unsupported(str(module))
    stride, padding = (module.stride[0], module.stride[1]), (module.padding[0], module.padding[1])
    return convolution(shape, module.weight, module.bias, stride, padding, module.groups)


def _from_normalisation(module: nn.BatchNorm1d | nn.BatchNorm2d, shape: Shape) -> Sequence[Layer]:
    if module.training or module.running_mean is None or module.running_var is None:
        raise _unsupported(f"{module} that uses its batch's statistics")
    wide = (-1, *[1] * (len(shape) - 1))
    mean, variance = module.running_mean.double(), module.running_var.double()
    scale = (variance + module.eps).rsqrt() * (1 if module.weight is None else module.weight.double())
    shift = torch.zeros_like(mean) if module.bias is None else module.bias
    one = torch.ones_like(mean).reshape(wide)
    return [scaling(shape, one, -mean.reshape(wide)), scaling(shape, scale.reshape(wide), shift.reshape(wide))]


def _from_pooling(module: nn.Module, shape: Shape) -> Layer:
    if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
        return averaging(shape, (shape[1], shape[2]), (1, 1))
    plain = isinstance(module, nn.AvgPool2d | nn.MaxPool2d) and _pair(module.padding) == (0, 0) and not module.ceil_mode
    if plain and isinstance(module, nn.AvgPool2d) and module.divisor_override is None:
        return averaging(shape, _pair(module.kernel_size), _pair(module.stride))
    if plain and isinstance(module, nn.MaxPool2d):
        kernel, stride = _pair(module.kernel_size), _pair(module.stride)
        if kernel[0] == kernel[1] and stride[0] == stride[1] and _pair(module.dilation) == (1, 1):
            return MaxPool(shape, kernel[0], stride[0])
    raise _unsupported(str(module).splitlines()[0])


def _pair(value: Any) -> tuple[int, int]:
    return (value[0], value[1]) if isinstance(value, tuple) else (value, value)


def _unsupported(what: str) -> UncertifiableError:
    return UncertifiableError(f"no bound is known for {what}: a certificate needs a chain of {SUPPORTED}")
