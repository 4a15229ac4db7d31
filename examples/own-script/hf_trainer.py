"""A Hugging Face Trainer: a small vision transformer, made on the spot, learns to read handwritten digits.

With `python hf_trainer.py` it runs by itself, without Trialyard. Needs transformers and accelerate.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from transformers import Trainer, TrainerCallback, TrainingArguments, ViTConfig, ViTForImageClassification

from trialyard import report

parameters = report.start({"lr": 3e-3, "width": 32, "layers": 1, "dropout": 0.1, "epochs": 6})


class Rows(torch.utils.data.Dataset):
    def __init__(self, images, labels):
        self.images = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8)  # rows, channels, height, width
        self.labels = torch.tensor(labels)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"pixel_values": self.images[index], "labels": self.labels[index]}


class Reporting(TrainerCallback):
    """Tells what each evaluation measured, and ends the training when it is told to."""

    def on_evaluate(self, _args, state, control, metrics, **_):
        measured = {"val/loss": metrics["eval_loss"], "val/accuracy": metrics["eval_accuracy"]}
        print(f"epoch {state.epoch:g}: val/accuracy {measured['val/accuracy']:.4f}")
        if report.report(round(state.epoch), measured).stop:
            control.should_training_stop = True


def last_whole_checkpoint(folder):
    """The newest that was written to its end, which is the Trainer's own state; None if there is none."""
    whole = [state.parent for state in folder.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda each: int(each.name.removeprefix("checkpoint-")), default=None)


def accuracy(prediction):
    return {"accuracy": float(np.mean(prediction.predictions.argmax(1) == prediction.label_ids))}


images, labels = load_digits(return_X_y=True)
x, x_val, y, y_val = train_test_split(images, labels, test_size=0.3, random_state=0, stratify=labels)
config = ViTConfig(
    image_size=8,
    patch_size=2,
    num_channels=1,
    hidden_size=parameters["width"],
    intermediate_size=2 * parameters["width"],
    num_hidden_layers=parameters["layers"],
    num_attention_heads=4,
    hidden_dropout_prob=parameters["dropout"],
    num_labels=10,
)
folder = report.checkpoint_dir()
arguments = TrainingArguments(
    output_dir=str(folder),
    num_train_epochs=parameters["epochs"],
    learning_rate=parameters["lr"],
    per_device_train_batch_size=64,
    per_device_eval_batch_size=256,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_total_limit=1,
    logging_strategy="no",
    report_to="none",
    disable_tqdm=True,
    dataloader_pin_memory=torch.cuda.is_available(),
    seed=0,
)
trainer = Trainer(
    model=ViTForImageClassification(config),
    args=arguments,
    train_dataset=Rows(x, y),
    eval_dataset=Rows(x_val, y_val),
    compute_metrics=accuracy,
    callbacks=[Reporting()],
)
# An earlier attempt of this trial may have been interrupted: its last whole epoch is in the folder.
trainer.train(resume_from_checkpoint=last_whole_checkpoint(folder))
