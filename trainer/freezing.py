"""Which parts of a pretrained model learn, in which epoch and how fast."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from torch import nn

from trainer.config import TrainConfig, Transfer
from trainer.models.layers import Network
from trainer.models.pretrained import head_of

Block = list[nn.Module]


def blocks_of(model: Network) -> list[Block]:
    """A model's parts from its input to its head, the head left out. A norm, which has no matrix of its own, belongs to
    the layer before it.
    """
    head = set(head_of(model).modules())
    blocks: list[Block] = []
    for unit in _units(model):
        if unit in head or not any(True for _ in unit.parameters()):
            continue
        is_layer = any(parameter.ndim > 1 for parameter in unit.parameters())
        if is_layer or not blocks:
            blocks.append([unit])
        else:
            blocks[-1].append(unit)
    return blocks


def freeze(model: Network, config: TrainConfig, epoch: int) -> None:
    """Let learn what learns in an epoch, counted from 0. With gradual unfreezing the block next to the head thaws first
    (Howard and Ruder 2018, section 3.3). With matrices of low rank those learn, and the head.
    """
    knobs, blocks = config.transfer, blocks_of(model)
    frozen = [module for block in blocks[: _frozen(knobs, len(blocks), epoch)] for module in block]
    model.requires_grad_(True)
    for module in frozen:
        module.requires_grad_(False)
    model.frozen = tuple(frozen)
    if config.model.lora_rank:
        head = {id(parameter) for parameter in head_of(model).parameters()}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(id(parameter) in head or ("lora_" in name and parameter.requires_grad))


def parameter_groups(model: Network, knobs: Transfer) -> list[dict[str, Any]]:
    """All parameters in their order, as groups for an optimizer; `scale` is what multiplies the learning rate: head_lr
    for the head, lr_decay to the power of the distance from it for a block.
    """
    blocks = blocks_of(model)
    scales = {id(parameter): knobs.head_lr for parameter in head_of(model).parameters()}
    for distance, block in enumerate(reversed(blocks), start=1):
        for module in block:
            scales |= {id(parameter): knobs.lr_decay**distance for parameter in module.parameters()}
    last = knobs.lr_decay ** len(blocks)  # of what is in no block, such as a token for the class
    grouped = groupby(model.parameters(), key=lambda parameter: scales.get(id(parameter), last))
    return [{"params": list(parameters), "scale": scale} for scale, parameters in grouped]


def _frozen(knobs: Transfer, blocks: int, epoch: int) -> int:
    begins = {"none": 0, "all_but_head": blocks, "blocks": min(knobs.frozen_blocks, blocks)}[knobs.freeze]
    thawed = epoch // knobs.unfreeze_every if knobs.unfreeze_every else 0
    return max(0, begins - thawed)


def _units(module: nn.Module) -> Iterator[nn.Module]:
    """The parts that a model lists, one after another, and those around the list."""
    if isinstance(module, nn.Sequential | nn.ModuleList):
        yield from module.children()
    elif any(isinstance(inner, nn.Sequential | nn.ModuleList) for inner in module.modules()):
        for child in module.children():
            yield from _units(child)
    else:
        yield module
