"""The same over several processes, each on a GPU of its own, or on the processor where there is none.

By itself: `python -m torch.distributed.run --standalone --nproc-per-node=2 ddp_digits.py`.
"""

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trialyard import report

on_gpu = torch.cuda.is_available()
dist.init_process_group("nccl" if on_gpu else "gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()
device = torch.device("cuda", rank) if on_gpu else torch.device("cpu")

parameters = report.start({"lr": 0.01, "hidden": 64, "epochs": 10})  # the same in every process

images, labels = load_digits(return_X_y=True)
parts = train_test_split(images / 16, labels, test_size=0.3, random_state=0, stratify=labels)
x, x_val, y, y_val = (
    torch.tensor(part, dtype=torch.float32 if part.ndim == 2 else torch.int64, device=device) for part in parts
)

torch.manual_seed(0)
layers = nn.Sequential(nn.Linear(64, parameters["hidden"]), nn.ReLU(), nn.Linear(parameters["hidden"], 10))
model = DistributedDataParallel(layers.to(device))
optimizer = torch.optim.AdamW(model.parameters(), lr=parameters["lr"])
shuffle = torch.Generator().manual_seed(0)

for epoch in range(1, parameters["epochs"] + 1):
    order = torch.randperm(len(x), generator=shuffle)  # the same in every process, each of which takes its share
    for batch in order[: len(x) // (64 * ranks) * 64 * ranks].view(-1, ranks, 64)[:, rank]:
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    said = [None]
    if rank == 0:  # one reports, and the others hear from it whether to go on
        with torch.no_grad():
            accuracy = (layers(x_val).argmax(1) == y_val).float().mean().item()
        print(f"epoch {epoch}: val/accuracy {accuracy:.4f}, {ranks} processes")
        said = [report.report(epoch, {"val/accuracy": accuracy}).stop]
    dist.broadcast_object_list(said, src=0)
    if said[0]:
        break

dist.destroy_process_group()
