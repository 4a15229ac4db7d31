"""Processes that train one model together: what each of them does of a step, and how they stay of one mind.

A batch is split over the ranks, whose gradients DistributedDataParallel brings together; for the model it is as if one
process had seen the whole batch. What is drawn for an epoch as a whole, its order above all, every rank draws alike;
what is drawn for rows (dropout, augmentation) each draws for its own.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Generator, Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from trainer.data.prepared import Part
from trainer.models.layers import BATCH_NORMS, Network

# For one rank to wait for another: the first one alone waits for the service's decisions.
PATIENCE = timedelta(hours=1)

T = TypeVar("T")
Forward = Callable[..., Tensor]


@dataclass(frozen=True)
class Split:
    """What one rank does of an epoch.

    Attributes:
        order: the rows that it trains on, batch after batch.
        rows: how many of each full batch are its own.
        counts: of each batch, what its own rows weigh together; without weights, how many they are.
        totals: of each batch, what all of its rows weigh.
    """

    order: Tensor
    rows: int
    counts: list[float]
    totals: list[float]


class Ranks:
    """A training that is alone: the first and only rank."""

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        """Whether this one reports, decides, and keeps what is to be kept."""
        return self.rank == 0

    def noise(self, shared: Generator) -> Generator:
        """What rows' own noise is drawn from; `shared` draws alike on all ranks."""
        return shared

    def begin_epoch(self, shared: Generator, noise: Generator) -> None:
        """Draw each rank's own noise anew, by what all draw alike."""

    def split(self, order: Tensor, batch_size: int, weight: Tensor | None) -> Split:
        """This rank's share of an epoch.

        Args:
            order: (rows,), those of the epoch.
            weight: (rows,), what each of them weighs in its batch's loss; None for all the same.
        """
        weights = torch.ones(len(order)) if weight is None else weight
        totals = _sums(weights, batch_size)
        return Split(order, batch_size, totals, totals)

    @contextmanager
    def stepping(self, model: Network) -> Iterator[Forward]:
        """Within, what it gives computes outputs whose gradients will be those over all ranks."""
        yield model

    def apart(self, forward: Forward) -> AbstractContextManager[object]:  # noqa: ARG002 - the group's signature
        """Within, a pass gathers this rank's gradients alone: the step's last pass brings them together."""
        return nullcontext()

    def joined(self, model: Network) -> Network:
        """The model with norms that see the whole batch, where the device has such."""
        return model

    def even_out(self, models: Iterable[nn.Module]) -> None:
        """Give all ranks the same batch statistics: those of the first."""

    def agreed(self, decide: Callable[[], T]) -> T:
        """What the first rank decides; only there it is asked."""
        return decide()

    def sum(self, value: Tensor) -> Tensor:
        """Over all ranks."""
        return value

    def share(self, part: Part) -> Part:
        """The rows that this rank evaluates."""
        return part

    def gathered(self, outputs: Tensor, rows: int) -> Tensor:
        """The outputs for all rows, from what each rank has for its `share`."""
        del rows
        return outputs


ALONE = Ranks()


class Group(Ranks):
    """One of several ranks, each a process with a device of its own."""

    def __init__(self, rank: int, size: int, control: dist.ProcessGroup | None = None) -> None:
        """To be made by `join`, or of a process group that stands. `control` carries decisions, beside gradients."""
        self.rank = rank
        self.size = size
        self._control = control

    def noise(self, shared: Generator) -> Generator:
        return Generator(shared.device)

    def begin_epoch(self, shared: Generator, noise: Generator) -> None:
        noise.set_state(shared.get_state())  # so that the shared one draws the orders that it draws alone
        seed = torch.randint(2**62, (), generator=noise, device=noise.device)
        noise.manual_seed(int(seed) + self.rank)

    def split(self, order: Tensor, batch_size: int, weight: Tensor | None) -> Split:
        """Of each batch the ranks take pieces one after another, the first ones of a row more where it does not divide.

        A rank for which nothing is left of the last batch takes its first row and counts it for nothing: it must take
        part in the step.
        """
        full, rest = divmod(len(order), batch_size)
        begin, end = self._piece(batch_size)
        whole = order[: full * batch_size].view(full, batch_size)
        own = [whole[:, begin:end].reshape(-1)]
        weights = torch.ones(len(order)) if weight is None else weight
        counts = weights[: full * batch_size].view(full, batch_size)[:, begin:end].sum(1).tolist()
        if rest:
            begin, end = self._piece(rest)
            last = order[full * batch_size :]
            own.append(last[begin:end] if end > begin else last[:1])
            counts.append(float(weights[full * batch_size :][begin:end].sum()))
        rows = self._piece(batch_size)[1] - self._piece(batch_size)[0]
        return Split(torch.cat(own), rows, counts, _sums(weights, batch_size))

    @contextmanager
    def stepping(self, model: Network) -> Iterator[Forward]:
        # Made anew for each epoch: which parameters learn, and which there are, may change between two.
        yield DistributedDataParallel(model, find_unused_parameters=model.may_leave_out)

    def apart(self, forward: Forward) -> AbstractContextManager[object]:
        assert isinstance(forward, DistributedDataParallel)  # noqa: S101 - what `stepping` gave
        quiet: AbstractContextManager[object] = forward.no_sync()
        return quiet

    def joined(self, model: Network) -> Network:
        if next(model.parameters()).device.type != "cuda":
            return model  # PyTorch has no such norm for processors: each rank normalizes by its own rows
        synchronized: Network = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return synchronized

    def even_out(self, models: Iterable[nn.Module]) -> None:
        for model in models:
            for module in model.modules():
                if isinstance(module, BATCH_NORMS):
                    for buffer in module.buffers():
                        dist.broadcast(buffer, 0)

    def agreed(self, decide: Callable[[], T]) -> T:
        said: list[T | None] = [decide() if self.is_first else None]
        dist.broadcast_object_list(said, 0, group=self._control)
        decision: T = said[0]  # type: ignore[assignment]  # the first has said it
        return decision

    def sum(self, value: Tensor) -> Tensor:
        dist.all_reduce(value)
        return value

    def share(self, part: Part) -> Part:
        """As many rows for each rank, one after another; the last may have fewer, but at least one."""
        rows = math.ceil(part.rows / self.size)
        begin = min(self.rank * rows, part.rows - 1)
        end = min(begin + rows, part.rows)
        return Part(tuple(tensor[begin:end] for tensor in part.inputs), part.y[begin:end])

    def gathered(self, outputs: Tensor, rows: int) -> Tensor:
        of_each = math.ceil(rows / self.size)
        own = outputs.new_zeros((of_each, *outputs.shape[1:]))
        own[: len(outputs)] = outputs
        pieces = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(pieces, own)
        return torch.cat(pieces)[:rows]

    def _piece(self, rows: int) -> tuple[int, int]:
        each, more = divmod(rows, self.size)
        begin = self.rank * each + min(self.rank, more)
        return begin, begin + each + (self.rank < more)


def _sums(weights: Tensor, batch_size: int) -> list[float]:
    """Of each batch."""
    missing = -len(weights) % batch_size
    sums: list[float] = functional.pad(weights, (0, missing)).view(-1, batch_size).sum(1).tolist()
    return sums


@contextmanager
def join(device: Literal["cpu", "cuda"], patience: timedelta = PATIENCE) -> Iterator[Ranks]:
    """Within, this process is a rank of the group that torchrun's agent says in the environment; a rank's GPU is the
    one of its local number.
    """
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=patience)
    control = dist.new_group(backend="gloo", timeout=patience) if device == "cuda" else None
    yield Group(dist.get_rank(), dist.get_world_size(), control)
    dist.destroy_process_group()  # not after an error: it might wait for the others, which wait for this one
