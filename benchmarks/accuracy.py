"""How good do the models get that the service finds, beside scikit-learn's on the same rows?

    python -m benchmarks.accuracy [--minutes 20] [--only adult] [--pictures FOLDER]

Each study file of `examples/` that is named below is run by the service itself (SQLite, embedded Redis, two workers,
all as processes), for so many minutes; its data lie below TRIALYARD_DATA_DIR. What is told is the test part, once,
of the trial that was the best by the validation part, in the restored best epoch, and once of its refit on training and
validation rows, from so many seeds as the study file says; of German credit, which has no test part, the mean of five
folds. The others are fitted with their defaults on the same training and validation rows
together, as nothing is tuned on them, and measured on the same test rows. Wine has its duplicate rows taken out first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from playwright.sync_api import ViewportSize, sync_playwright
from rich.console import Console
from rich.table import Table
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC, LinearSVC

from store.settings import Settings
from trainer.config import Data
from trainer.data.prepare import prepare
from trainer.data.prepared import Part, Prepared
from trainer.data.split import split_rows
from trialyard.client import Client
from trialyard.ensembles import follow_refit
from trialyard.follow import follow, page_of
from trialyard.local import free_port, local_service
from trialyard.resources import BestTrial
from trialyard.signals import StopSignals
from trialyard.study_file import from_yaml

EXAMPLES = Path(__file__).parents[1] / "examples"
SHOWN: ViewportSize = {"width": 1440, "height": 690}
SETTLING_MILLISECONDS = 10_000  # until the figures are drawn, on a machine that does much else besides
Figures = dict[str, float]


@dataclass(frozen=True)
class Case:
    """A study file, what is aimed at by metric, and who else is measured."""

    file: str
    goals: Figures
    others: Callable[[Data, Path], dict[str, Figures]]
    unit: float = 1.0  # of errors


def tables(data: Data, folder: Path) -> dict[str, Figures]:
    """Boosting and a perceptron, of classes or of numbers."""
    prepared = prepare(data, device=torch.device("cpu"), data_folders=[folder])
    assert prepared.test is not None
    known, asked = _joined(prepared.train, prepared.validation), _joined(prepared.test)
    models = _models(prepared)
    return {name: _measured(model.fit(*known), *asked, prepared) for name, model in models.items()}


def folds(data: Data, folder: Path) -> dict[str, Figures]:
    """The same, each row being tested in one of five folds."""
    prepared = prepare(data, device=torch.device("cpu"), data_folders=[folder])
    x, y = _joined(prepared.train, prepared.validation)
    divided = StratifiedKFold(5, shuffle=True, random_state=0)
    return {
        name: {"val/auc": float(cross_val_score(model, x, y, scoring="roc_auc", cv=divided).mean())}
        for name, model in _models(prepared).items()
    }


def texts(data: Data, folder: Path) -> dict[str, Figures]:
    """Character n-grams, weighed by how rare they are, and a support vector machine."""
    rows = pd.read_csv(folder / data.source.removeprefix("file:"), sep="\t", quoting=3)
    x, y = rows[data.text].to_numpy(), rows[data.target].to_numpy()
    parts = split_rows(len(rows), data.split, hold_out_test=True, labels=y)
    known = np.concatenate([parts.train, parts.validation])
    model = make_pipeline(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True), LinearSVC())
    guessed = model.fit(x[known], y[known]).predict(x[parts.test])
    return {"n-grams and SVM": {"test/f1": float(f1_score(y[parts.test], guessed, pos_label="spam"))}}


def images(data: Data, folder: Path) -> dict[str, Figures]:
    """A support vector machine over the pixels."""
    prepared = prepare(data, device=torch.device("cpu"), data_folders=[folder])
    assert prepared.test is not None
    known, (x, y) = _joined(prepared.train, prepared.validation), _joined(prepared.test)
    return {"SVC": {"test/accuracy": float(accuracy_score(y, SVC().fit(*known).predict(x)))}}


def nobody(_data: Data, _folder: Path) -> dict[str, Figures]:
    return {}


CASES = {
    "adult": Case("adult.yaml", {"test/accuracy": 0.858, "test/auc": 0.915}, tables),
    "california": Case("california.yaml", {"test/rmse": 0.475}, tables, unit=100_000),
    "german credit": Case("german-credit.yaml", {"val/auc": 0.803}, folds),
    "wine": Case("wine.yaml", {"test/rmse": 0.705}, tables),
    "fashion": Case("fashion.yaml", {"test/accuracy": 0.925}, nobody),
    "sms": Case("sms.yaml", {"test/f1": 0.955}, texts),
    "digits": Case("digits.yaml", {"test/accuracy": 0.985}, images),
}


@dataclass(frozen=True)
class Found:
    """What a study came to: its best trial, and that one's refit on more rows; how many trials it had, and how many of
    them had all their epochs in time.
    """

    best: BestTrial
    refit: Figures
    trials: int
    whole: int


def run(document: dict[str, Any], folder: Path, minutes: float, picture: Path | None) -> Found:
    """Have the service search for so long."""
    document["budget"] |= {"timeout": round(60 * minutes), "trials": 10_000}
    with tempfile.TemporaryDirectory(prefix="accuracy-") as home, StopSignals() as signals:
        settings = Settings(home_dir=Path(home), port=free_port(), data_dir=str(folder))
        slots = ["--gpus", "none", "--cpu-slots", "2"]
        with (
            local_service(settings, slots, signals, lambda text: print(text, file=sys.stderr)) as service,
            Client(service.server_url) as client,
        ):
            study = follow(client, client.create_study(document), Console(stderr=True), service.check)
            follow_refit(client, study, Console(stderr=True), service.check)
            refit = next((each for each in client.ensembles(study.name) if each.method == "refit"), None)
            best = client.best(study.name)
            if picture:
                photograph(page_of(client, study.name), picture)
            epochs = document["trial"]["epochs"]
            whole = sum(trial.step == epochs for trial in client.trials(study.name, state="COMPLETE"))
    return Found(best, (refit.metrics if refit else None) or {}, study.counts.ended, whole)


def photograph(url: str, picture: Path) -> None:
    """The top of a study's page: where it stands, its history, its curves and its best trial."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SHOWN)
        page.goto(url)
        page.wait_for_timeout(SETTLING_MILLISECONDS)
        page.screenshot(path=picture)
        browser.close()


def measure(name: str, folder: Path, minutes: float, pictures: Path | None) -> dict[str, Any]:
    case = CASES[name]
    document = from_yaml((EXAMPLES / case.file).read_text())
    found = run(document, folder, minutes, pictures / f"{document['name']}.png" if pictures else None)
    others = case.others(Data.model_validate(document["trial"]["data"]), folder)
    metrics, searched = found.best.metrics or {}, document["objective"]["metric"]
    return {
        "ours": {name: metrics[name] / case.unit for name in case.goals},
        "refit": {name: found.refit[name] / case.unit for name in case.goals if name in found.refit},
        "goals": case.goals,
        "others": {who: {name: figure / case.unit for name, figure in each.items()} for who, each in others.items()},
        "validation": {searched: metrics[searched] / (case.unit if searched == "val/rmse" else 1)},
        "trials": {"all": found.trials, "whole": found.whole},
        "best": found.best.parameters,
        "load": os.getloadavg()[2],  # of the last quarter of an hour
    }


def _models(prepared: Prepared) -> dict[str, Any]:
    numbers, categories = (tensor.shape[1] for tensor in prepared.train.inputs)
    categorical = list(range(numbers, numbers + categories))
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    encoded = make_column_transformer((one_hot, categorical), remainder="passthrough")
    if prepared.task == "classification":
        boosting: Any = HistGradientBoostingClassifier(categorical_features=categorical, random_state=0)
        perceptron: Any = MLPClassifier(early_stopping=True, random_state=0)
    else:
        boosting = HistGradientBoostingRegressor(categorical_features=categorical, random_state=0)
        perceptron = MLPRegressor(early_stopping=True, random_state=0)
    return {"boosting": boosting, "MLP": make_pipeline(encoded, perceptron)}


def _joined(*parts: Part) -> tuple[NDArray[Any], NDArray[Any]]:
    rows = [np.hstack([tensor.flatten(1).numpy() for tensor in part.inputs]) for part in parts]
    return np.vstack(rows), np.concatenate([part.y.numpy() for part in parts])


def _measured(model: Any, x: NDArray[Any], y: NDArray[Any], prepared: Prepared) -> Figures:
    if prepared.task == "regression":
        return {"test/rmse": prepared.schema.target.deviation * float(root_mean_squared_error(y, model.predict(x)))}
    accuracy = float(accuracy_score(y, model.predict(x)))
    return {"test/accuracy": accuracy, "test/auc": float(roc_auc_score(y, model.predict_proba(x)[:, 1]))}


def _of(trials: dict[str, int]) -> str:
    return f"{trials['all']}, {trials['whole']} to their end"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="for each study")
    parser.add_argument("--pictures", type=Path, help="a folder for a picture of each study's page; needs Chromium")
    parser.add_argument("--only", choices=CASES, action="append")
    parser.add_argument("--quick", action="store_true", help="half a minute each: a smoke run")
    arguments = parser.parse_args()
    folder = os.environ.get("TRIALYARD_DATA_DIR")
    if folder is None:
        parser.error("set TRIALYARD_DATA_DIR to the folder with the data sets that the examples name")
    minutes = 0.5 if arguments.quick else arguments.minutes
    table, figures = Table("data set", "metric", "ours", "refit", "goal", "others", "trials", box=None), {}
    for name in arguments.only or CASES:
        found = figures[name] = measure(name, Path(folder), minutes, arguments.pictures)
        for metric, goal in found["goals"].items():
            others = ", ".join(f"{who} {each[metric]:.4f}" for who, each in found["others"].items() if metric in each)
            ours = [f"{found[of][metric]:.4f}" if metric in found[of] else "" for of in ("ours", "refit")]
            table.add_row(name, metric, *ours, f"{goal}", others, _of(found["trials"]))
    Console(width=140).print(table)
    machine = {"cores": os.cpu_count(), "machine": platform.machine()}
    print(json.dumps({"benchmark": "accuracy", **machine, "minutes": minutes, "data sets": figures}))


if __name__ == "__main__":
    main()
