"""What a study must be so that its trials can be a population (`sampler: {name: pbt}`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from search.findings import Finding, shown
from search.knobs import longest_training
from search.parameters import Constant, Parameter
from search.sections import Pbt
from search.suggestions import nearest
from trainer.config import schedule_knobs


def changeable(parameters: Mapping[str, Parameter], kind: str) -> list[str]:
    """The parameters that a member may be given anew while it trains: of the built-in training those of the schedule,
    of a person's own code all, as only it knows what its checkpoints stand.
    """
    able = set(schedule_knobs()) if kind == "train" else parameters.keys()
    return [name for name, each in parameters.items() if name in able and not isinstance(each, Constant)]


def perturbed(parameters: Mapping[str, Parameter], chosen: Sequence[str] | None, kind: str) -> list[str]:
    """Those of them that a person has chosen; all, if nobody has."""
    able = changeable(parameters, kind)
    return able if chosen is None else [name for name in able if name in chosen]


def filled(document: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """What follows from other sections: a budget of a trial a member, and the last step of the built-in training."""
    sampler, trial, budget = dict(document["sampler"]), document.get("trial"), document.get("budget", {})
    epochs = longest_training(parameters, trial) if isinstance(trial, dict) else None
    if epochs is not None:
        sampler.setdefault("max_resource", epochs)
    if not isinstance(budget, dict):
        return {"sampler": sampler}
    return {"sampler": sampler, "budget": {"trials": _size(sampler)} | budget}


def check_population(document: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> list[Finding]:
    """What the other sections say that a population cannot do with."""
    trial, sampler = document.get("trial"), document["sampler"]
    kind = trial.get("kind", "train") if isinstance(trial, dict) else "train"
    findings = list(_check_company(document))
    if kind == "external":
        message = "is trained elsewhere, and the service cannot copy its checkpoints from member to member"
        findings.append(Finding(("trial", "kind"), message, "take kind train or objective, or another sampler"))
    if kind == "train" and "epochs" in parameters:
        message = "cannot be searched by pbt: its members are compared at the same steps, and train as long"
        findings.append(Finding(("parameters", "epochs"), message, "set trial.epochs"))
    if isinstance(kind, str) and parameters:
        findings += _check_parameters(parameters, sampler.get("perturb"), kind)
    last, interval = (
        filled(document, parameters)["sampler"].get("max_resource"),
        sampler.get("perturbation_interval", 1),
    )
    if isinstance(last, int) and isinstance(interval, int) and interval >= last:
        message = f"{interval} leaves no step before the last one, {last}, at which a member could be replaced"
        findings.append(Finding(("sampler", "perturbation_interval"), message, "take a smaller one"))
    return findings


def _size(sampler: Mapping[str, Any]) -> object:
    return sampler.get("population_size", Pbt.model_fields["population_size"].default)


def _check_company(document: Mapping[str, Any]) -> Iterator[Finding]:
    pruner, budget, size = document.get("pruner"), document.get("budget"), _size(document["sampler"])
    if isinstance(pruner, dict) and pruner.get("name") != "none":
        message = f"{shown(pruner.get('name'))} would stop members, and pbt lets its worst go on from its best"
        yield Finding(("pruner", "name"), message, "leave pruner out")
    if isinstance(budget, dict) and budget.get("trials", size) != size:
        message = f"is {shown(budget['trials'])}, and each of the population's {shown(size)} members is one trial"
        yield Finding(("budget", "trials"), message, "leave it out, or change sampler.population_size")
    if document.get("deterministic") is True:
        message = "pbt lets members race: which of them has come how far depends on the workers' speed"
        yield Finding(("sampler", "name"), message, "leave deterministic out")


def _check_parameters(parameters: Mapping[str, Parameter], chosen: object, kind: str) -> Iterator[Finding]:
    able = changeable(parameters, kind)
    if not able:
        message = "hold no knob that a running training can be given anew, so that pbt would have nothing to change"
        hint = "add one of the schedule, such as optimizer.lr, optimizer.weight_decay or regularization.dropout"
        yield Finding(("parameters",), message, hint)
    names = chosen if isinstance(chosen, list) else []
    for place, name in enumerate(names):
        if name not in able:
            known = isinstance(name, str) and name in parameters
            reason = "is fixed for a member: its weights depend on it" if known else "is no parameter of this study"
            yield Finding(("sampler", "perturb", place), f"{shown(name)} {reason}", nearest(name, able))
    changing = perturbed(parameters, [name for name in names if isinstance(name, str)] or None, kind)
    for name, parameter in parameters.items():
        for other in parameter.when if name not in changing else ():
            if other in changing:
                message = f"is fixed for a member, and {other}, which it depends on, changes while the member trains"
                yield Finding(("parameters", name, "when"), message, f"leave {other} out of sampler.perturb")
