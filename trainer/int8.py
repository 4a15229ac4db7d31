"""Weights as whole numbers of eight bits: a quarter of the bytes, and on a processor the larger layers are faster.

A linear layer has a scale for each of its outputs, and gives each row of its inputs one as it comes (dynamic
quantization, Jacob et al. 2018, with zero as the middle): no rows are needed to calibrate. Tables of embeddings have a
scale a row. Convolutions, norms and biases stay as they are.

PyTorch's own `quantize_dynamic` is deprecated and leaves tensors that safetensors cannot hold; what is here needs the
product of matrices of whole numbers alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.models.layers import Network

MOST = 127
TINY = 1e-12  # in place of the scale of a row of zeros
ADAPTED = ("lora_", "base_layer")  # parts of layers with matrices of low rank, which are read by name


class Int8Linear(nn.Module):
    """As `nn.Linear`, with weights in eight bits."""

    weight: Tensor  # (outputs, inputs), int8
    scale: Tensor  # (outputs,)
    bias: Tensor | None  # (outputs,)

    def __init__(self, outputs: int, inputs: int, *, bias: bool) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, inputs, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(outputs))
        self.register_buffer("bias", torch.zeros(outputs) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) to (…, outputs)."""
        if x.device.type != "cpu":  # kernels of a GPU take only some sizes
            return functional.linear(x, self.weight.to(x.dtype) * self.scale[:, None].to(x.dtype), self.bias)
        rows = x.reshape(-1, x.shape[-1]).float()
        scale = rows.abs().amax(1, keepdim=True).clamp_(min=TINY).div_(MOST)  # (rows, 1)
        product = _product((rows / scale).round_().to(torch.int8), self.weight)
        outputs = product.float().mul_(scale * self.scale)
        if self.bias is not None:
            outputs += self.bias
        return outputs.view(*x.shape[:-1], len(self.weight))


class Int8Table(nn.Module):
    """As `nn.Embedding` or, with `mean`, as `nn.EmbeddingBag`, with a table in eight bits."""

    weight: Tensor  # (rows, width), int8
    scale: Tensor  # (rows,)

    def __init__(self, rows: int, width: int, *, mean: bool, padding: int | None) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(rows, width, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(rows))
        self._mean, self._padding = mean, padding

    def forward(self, indices: Tensor) -> Tensor:
        """(batch, …) to (batch, …, width); with `mean` to (batch, width), the mean of what is no padding."""
        indices = indices.long()
        found: Tensor = self.weight[indices].float() * self.scale[indices].unsqueeze(-1)
        if not self._mean:
            return found
        there = indices.ne(-1 if self._padding is None else self._padding).unsqueeze(2)  # (batch, length, 1)
        mean: Tensor = (found * there).sum(1) / there.sum(1).clamp(min=1)
        return mean


def quantized(model: Network) -> Network:
    """A copy of a trained model with linear layers and tables in eight bits."""
    small = copy.deepcopy(model)
    for path, module in list(small.named_modules()):
        if (found := _empty(path, module)) is not None:
            weight, scale = _rounded(module.get_parameter("weight").detach())
            found.to(weight.device)
            state = {"weight": weight, "scale": scale}
            if getattr(module, "bias", None) is not None:
                state["bias"] = module.get_parameter("bias").detach()
            found.load_state_dict(state)
            small.set_submodule(path, found)
    return small.eval()


def shaped_as(model: Network, weights: Mapping[str, Tensor]) -> Network:
    """The model with layers in eight bits where the weights have them; the numbers are yet to be loaded."""
    for path, module in list(model.named_modules()):
        weight = weights.get(f"{path}.weight")
        if weight is not None and weight.dtype == torch.int8 and (found := _empty(path, module)) is not None:
            model.set_submodule(path, found)
    return model


def as_floats(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a model in eight bits for one that has floats."""
    small = {name for name, tensor in weights.items() if tensor.dtype == torch.int8}
    scales = {f"{name.removesuffix('weight')}scale" for name in small}
    return {
        name: tensor * weights[f"{name.removesuffix('weight')}scale"][:, None] if name in small else tensor
        for name, tensor in weights.items()
        if name not in scales
    }


def has_small_layers(model: nn.Module) -> bool:
    return any(isinstance(module, Int8Linear | Int8Table) for module in model.modules())


def learned_in(model: nn.Module) -> Iterator[Tensor]:
    """What a model has learned, in floats or in eight bits; scales are no numbers of their own."""
    yield from model.parameters()
    for module in model.modules():
        if isinstance(module, Int8Linear | Int8Table):
            yield module.weight
        if isinstance(module, Int8Linear) and module.bias is not None:
            yield module.bias


def _empty(path: str, module: nn.Module) -> nn.Module | None:
    """What takes a module's place; None for one that stays."""
    if any(part in path for part in ADAPTED):
        return None
    if type(module) is nn.Linear:
        return Int8Linear(module.out_features, module.in_features, bias=module.bias is not None)
    if type(module) is nn.Embedding:
        return Int8Table(module.num_embeddings, module.embedding_dim, mean=False, padding=None)
    if isinstance(module, nn.EmbeddingBag) and module.mode == "mean":
        return Int8Table(module.num_embeddings, module.embedding_dim, mean=True, padding=module.padding_idx)
    return None


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """(rows, inputs) and (outputs, inputs), int8, to (rows, outputs), int32."""
    if x.shape[1] == 1:  # torch._int_mm leaves the result of an inner dimension of one unwritten
        return x.int() * weight.t().int()
    return torch._int_mm(x, weight.t())


def _rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, columns) as whole numbers from -127 to 127, and what each row of them is multiplied by."""
    scale = weight.abs().amax(1).clamp(min=TINY) / MOST
    return (weight / scale[:, None]).round().to(torch.int8), scale
