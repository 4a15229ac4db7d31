"""What a study's document leaves out, and what its other sections say is meant."""

from __future__ import annotations

from typing import Any

from search.conditions import Conditions
from search.knobs import longest_training
from search.parameters import Parameter
from search.sections import BOUNDED, MOST_TRIALS, name_of

FEWEST_EPOCHS = 3  # below that a first rung has nothing to save
FEWEST_TRIALS = 20  # fewer find better models if each is trained to its end, and that costs less than twenty of them


def with_model(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the usual model of texts, where it reads some and names none; the default is one of tables."""
    trial = document.get("trial")
    if not isinstance(trial, dict) or trial.get("kind", "train") != "train":
        return document
    data, model = trial.get("data"), trial.get("model", {})
    reads_texts = isinstance(data, dict) and data.get("text") is not None
    if not reads_texts or not isinstance(model, dict) or model.keys() & {"name", "source", "architecture"}:
        return document
    return {**document, "trial": {**trial, "model": {"name": "embedding_bag", **model}}}


def pruner_of(document: dict[str, Any], parameters: dict[str, Parameter], trial: dict[str, Any]) -> dict[str, Any]:
    """The section `pruner`: the usual one if there is none, its largest resource that of the longest training."""
    pruner = document["pruner"] if "pruner" in document else _usual_pruner(document, parameters, trial)
    epochs = longest_training(parameters, trial)
    return {} if epochs is None else {"pruner": _reaching(pruner, epochs)}


def whole_grid(budget: object, parameters: dict[str, Parameter]) -> dict[str, Any]:
    """A grid's trials, where nobody says how many."""
    if not isinstance(budget, dict) or "trials" in budget:
        return {}
    size = Conditions(parameters).size or 1
    return {"budget": {**budget, "trials": min(size, MOST_TRIALS)}}


def _usual_pruner(document: dict[str, Any], parameters: dict[str, Parameter], trial: dict[str, Any]) -> dict[str, Any]:
    """Who chooses neither sampler nor pruner gets auto with asha, where trials can wait and are not too few to be
    compared: trainings of some epochs that are looked at by one metric.
    """
    objective, epochs = document.get("objective"), longest_training(parameters, trial)
    looked_at = isinstance(objective, dict) and str(objective.get("metric")).startswith("val/")
    chosen = name_of(document.get("sampler", {"name": "auto"})) != "auto" or document.get("deterministic")
    waits = looked_at and not chosen and "epochs" not in parameters and (epochs or 0) >= FEWEST_EPOCHS
    budget = document.get("budget")
    trials = budget.get("trials") if isinstance(budget, dict) else None
    few = isinstance(trials, int) and trials < FEWEST_TRIALS
    return {"name": "asha" if waits and not few else "none"}


def _reaching(pruner: object, epochs: int) -> object:
    if not isinstance(pruner, dict):
        return pruner
    if pruner.get("name") in BOUNDED and "max_resource" not in pruner:
        return {**pruner, "max_resource": epochs}
    return {**pruner, "wrapped": _reaching(pruner["wrapped"], epochs)} if "wrapped" in pruner else pruner
