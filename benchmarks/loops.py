"""Training loops that people use, each reduced to one function: the same model, data, optimizer and epochs for all.

Every loop trains with AdamW's defaults and validates after each epoch: the loss and the accuracy.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import AdamW
from torch.utils.data import DataLoader, TensorDataset

from trainer.data.prepared import Part, Prepared
from trainer.models.layers import Network

LR = 1e-3
VALIDATION_ROWS = 1024


@dataclass(frozen=True)
class Job:
    """What is to be trained, and for how long."""

    model: Network
    prepared: Prepared
    batch_size: int
    epochs: int


def index_permutation(job: Job) -> None:
    """A permutation of the rows, and batches by indexing."""
    train, optimizer = job.prepared.train, AdamW(job.model.parameters(), lr=LR)
    for _ in range(job.epochs):
        job.model.train()
        for rows in torch.randperm(train.rows).split(job.batch_size):
            _step(job.model, optimizer, tuple(tensor[rows] for tensor in train.inputs), train.y[rows])
        _validate(job.model, _in_batches(job.prepared.validation))


def data_loader(job: Job) -> None:
    """PyTorch's own DataLoader, in the process."""
    loader, validation = _loaders(job)
    optimizer = AdamW(job.model.parameters(), lr=LR)
    for _ in range(job.epochs):
        job.model.train()
        for *inputs, y in loader:
            _step(job.model, optimizer, tuple(inputs), y)
        _validate(job.model, ((tuple(inputs), y) for *inputs, y in validation))


def lightning(job: Job) -> None:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = job.model

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            *inputs, y = batch
            loss = functional.cross_entropy(self.model(*inputs), y)
            self.log("train/loss", loss)
            return loss

        def validation_step(self, batch: list[Tensor], _: int) -> None:
            *inputs, y = batch
            outputs = self.model(*inputs)
            self.log("val/loss", functional.cross_entropy(outputs, y))
            self.log("val/accuracy", (outputs.argmax(1) == y).float().mean())

        def configure_optimizers(self) -> AdamW:
            return AdamW(self.parameters(), lr=LR)

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # it warns of loaders without workers, which are slower here
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=job.epochs, enable_checkpointing=False, num_sanity_val_steps=0, **quiet
    )  # type: ignore[arg-type]
    trainer.fit(Module(), *_loaders(job))


def skorch(job: Job) -> None:
    import skorch
    from skorch.helper import predefined_split

    class Inputs(torch.nn.Module):
        """Takes all inputs as one argument, as skorch hands them over."""

        def __init__(self) -> None:
            super().__init__()
            self.model = job.model

        def forward(self, x: tuple[Tensor, ...]) -> Tensor:
            out: Tensor = self.model(*x)
            return out

    net = skorch.NeuralNet(
        Inputs,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=AdamW,
        lr=LR,
        batch_size=job.batch_size,
        iterator_valid__batch_size=VALIDATION_ROWS,
        max_epochs=job.epochs,
        iterator_train__shuffle=True,
        train_split=predefined_split(_Pairs(job.prepared.validation)),
        verbose=0,
    )
    net.fit(_Pairs(job.prepared.train), y=None)


def accelerate(job: Job) -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model, optimizer = job.model, AdamW(job.model.parameters(), lr=LR)
    prepared_model, prepared_optimizer, loader, validation = accelerator.prepare(model, optimizer, *_loaders(job))
    for _ in range(job.epochs):
        prepared_model.train()
        for *inputs, y in loader:
            loss = functional.cross_entropy(prepared_model(*inputs), y)
            accelerator.backward(loss)
            prepared_optimizer.step()
            prepared_optimizer.zero_grad()
        _validate(prepared_model, ((tuple(inputs), y) for *inputs, y in validation))


def scikit_learn(job: Job) -> None:
    """Its perceptron of the same hidden layers; tables only, their categories one-hot."""
    import numpy as np
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import OneHotEncoder

    numbers, categories = (tensor.numpy() for tensor in job.prepared.train.inputs)

    x = np.hstack([numbers, OneHotEncoder(sparse_output=False, dtype=np.float32).fit_transform(categories)])
    warnings.simplefilter("ignore", ConvergenceWarning)
    hidden = tuple(layer.out_features for layer in job.model.blocks if isinstance(layer, torch.nn.Linear))
    MLPClassifier(hidden, batch_size=job.batch_size, max_iter=job.epochs, n_iter_no_change=job.epochs).fit(
        x, job.prepared.train.y.numpy()
    )


PEERS: dict[str, Callable[[Job], None]] = {
    "index permutation": index_permutation,
    "DataLoader": data_loader,
    "Lightning": lightning,
    "skorch": skorch,
    "Accelerate": accelerate,
    "scikit-learn": scikit_learn,
}


class _Pairs(torch.utils.data.Dataset[tuple[tuple[Tensor, ...], Tensor]]):
    """Rows as (inputs, y)."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def __len__(self) -> int:
        return self._part.rows

    def __getitem__(self, row: int) -> tuple[tuple[Tensor, ...], Tensor]:
        return tuple(tensor[row] for tensor in self._part.inputs), self._part.y[row]


def _step(model: Network, optimizer: AdamW, inputs: tuple[Tensor, ...], y: Tensor) -> None:
    loss = functional.cross_entropy(model(*inputs), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def _validate(model: torch.nn.Module, batches: Iterator[tuple[tuple[Tensor, ...], Tensor]]) -> tuple[float, float]:
    model.eval()
    loss = hits = rows = 0.0
    with torch.no_grad():
        for inputs, y in batches:
            outputs = model(*inputs)
            loss += functional.cross_entropy(outputs, y, reduction="sum").item()
            hits += (outputs.argmax(1) == y).sum().item()
            rows += len(y)
    return loss / rows, hits / rows


def _in_batches(part: Part) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
    for *inputs, y in zip(*(tensor.split(VALIDATION_ROWS) for tensor in (*part.inputs, part.y)), strict=True):
        yield tuple(inputs), y


def _loaders(job: Job) -> tuple[DataLoader[tuple[Tensor, ...]], DataLoader[tuple[Tensor, ...]]]:
    train, validation = (TensorDataset(*part.inputs, part.y) for part in (job.prepared.train, job.prepared.validation))
    return (
        DataLoader(train, batch_size=job.batch_size, shuffle=True),
        DataLoader(validation, batch_size=VALIDATION_ROWS),
    )
