"""A plain PyTorch training. With `python torch_digits.py` it runs by itself, without Trialyard."""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from trialyard import report

parameters = report.start({"lr": 0.01, "hidden": 64, "dropout": 0.1, "epochs": 20})
checkpoint = report.checkpoint_dir() / "last.pt"

torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
parts = train_test_split(images / 16, labels, test_size=0.3, random_state=0, stratify=labels)
x, x_val, y, y_val = (torch.tensor(part, dtype=torch.float32 if part.ndim == 2 else torch.int64) for part in parts)

hidden, dropout = parameters["hidden"], parameters["dropout"]
model = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=parameters["lr"])
first_epoch = 1
if checkpoint.exists():  # an earlier attempt was interrupted, or this one goes on from another trial's
    state = torch.load(checkpoint)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    optimizer.param_groups[0]["lr"] = parameters["lr"]  # a member of a population goes on with a rate of its own
    first_epoch = state["epoch"] + 1
    print(f"going on after epoch {state['epoch']}")

for epoch in range(first_epoch, parameters["epochs"] + 1):
    model.train()
    for batch in torch.randperm(len(x)).split(64):
        loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        logits = model(x_val)
    metrics = {
        "val/loss": nn.functional.cross_entropy(logits, y_val).item(),
        "val/accuracy": (logits.argmax(1) == y_val).float().mean().item(),
    }
    state = {"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(state, checkpoint.with_suffix(".new"))
    checkpoint.with_suffix(".new").replace(checkpoint)  # whoever kills us now finds the old file or the new one, whole
    print(f"epoch {epoch}: val/accuracy {metrics['val/accuracy']:.4f}")
    if report.report(epoch, metrics).stop:
        break
