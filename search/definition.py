"""The study definition: what a person sends, validated completely, and what the rest of the service works with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from search.acting import idle_settings
from search.conditions import Conditions
from search.constraints import Constraint, check_constraints, read_constraints
from search.corners import corners_of
from search.entries import read_parameters
from search.evolving import check_population
from search.evolving import filled as of_population
from search.findings import Finding, of_model, problems
from search.follow_ups import check_refit, check_rescore
from search.implied import pruner_of, whole_grid, with_model
from search.inequality import Inequality
from search.knobs import Kind, check_knobs, check_points, check_trial, knob_values, put_in, trial_keys
from search.objectives import check_objectives, read_objectives
from search.parameter_constraints import SECTION, check_inequalities, read_inequalities
from search.parameters import Constant, Parameter, Range
from search.plain import NotPlain, check_plain, check_size, check_whole_size
from search.points import SECTION as ENQUEUE
from search.points import read_enqueued
from search.region import Region
from search.sections import (
    MOST_GP_TRIALS,
    MOST_TRIALS,
    UNHURRIED,
    UNTEACHABLE,
    Auto,
    Budget,
    CmaEs,
    Keep,
    Name,
    NoPruner,
    Objective,
    Priority,
    PrunerSpec,
    Refit,
    Rescore,
    Resources,
    SamplerSpec,
    Section,
    WarmStart,
    name_of,
)
from store.errors import DefinitionError

LEAST_POPSIZE = 4  # of a cmaes that adapts parameters together

__all__ = ["Budget", "Definition", "Keep", "Objective", "Resources", "parse", "submitted"]


def _as_mapping(refit: object) -> object:
    """`true` is a refit with its defaults, `false` none."""
    return {True: {}, False: None}[refit] if isinstance(refit, bool) else refit


class Definition(Section):
    """A study, complete and consistent; made by `parse` alone."""

    name: Name
    objectives: Annotated[tuple[Objective, ...], Field(alias="objective")]
    constraints: tuple[Constraint, ...] = ()
    parameters: dict[str, Parameter]
    parameter_constraints: tuple[Inequality, ...] = ()
    sampler: Annotated[SamplerSpec, Field(discriminator="name")] = Field(default_factory=lambda: Auto(name="auto"))
    pruner: Annotated[PrunerSpec, Field(discriminator="name")] = NoPruner(name="none")
    budget: Budget
    duplicates: Literal["allow", "resample", "reuse"] = "allow"
    warm_start: WarmStart | None = None
    enqueue: tuple[dict[str, Any], ...] = ()
    priority: Priority = 1
    deterministic: bool = False
    trial: dict[str, Any]
    resources: Resources = Resources()
    keep: Keep = Keep()
    rescore: Rescore | None = None
    refit: Annotated[Refit | None, BeforeValidator(_as_mapping)] = None

    @property
    def objective(self) -> Objective:
        """The objective; of several the first, by which a training chooses its best epoch."""
        return self.objectives[0]

    @property
    def kind(self) -> Kind:
        kind: Kind = self.trial["kind"]
        return kind

    def resolve(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """One trial's section `trial`: for the built-in training with the parameters at their paths, else as it is."""
        return put_in(self.trial, parameters) if self.kind == "train" else dict(self.trial)

    @property
    def may_inherit(self) -> bool:
        """Whether some trial begins with the weights of another one."""
        searched = self.parameters.get("transfer.inherit")
        return self.kind == "train" and (searched is not None or self.inherits({}) != "none")

    def inherits(self, parameters: Mapping[str, Any]) -> str:
        """What a trial of the built-in training takes its weights from: `transfer.inherit`."""
        told: str = parameters.get("transfer.inherit") or (self.trial.get("transfer") or {}).get("inherit", "none")
        return told

    def metrics(self) -> dict[str, str]:
        """The metrics that the search looks at, by their paths in the document."""
        bounded = {f"constraints[{place}].metric": each.metric for place, each in enumerate(self.constraints)}
        if len(self.objectives) == 1:
            return {"objective.metric": self.objective.metric, **bounded}
        return {f"objective[{place}].metric": each.metric for place, each in enumerate(self.objectives)} | bounded

    def corners(self) -> list[dict[str, Any]]:
        """Trial sections that show each parameter's extremes and choices, at most 200: what a preflight builds."""
        return [self.resolve(point) for point in corners_of(self.region)]

    @property
    def region(self) -> Region:
        """Where in the space the inequalities between its parameters hold."""
        return Region(self.parameters, self.parameter_constraints)

    def told(self) -> dict[str, Any]:
        """Values of parameters where nobody gives them: constants, and what the built-in training finds in `trial`."""
        constants = {name: each.value for name, each in self.parameters.items() if isinstance(each, Constant)}
        return {**(knob_values(self.trial, self.parameters) if self.kind == "train" else {}), **constants}

    def document(self) -> dict[str, Any]:
        """The definition as JSON, defaults filled in where they are ours; `parse` makes the same definition of it."""
        objectives = [objective.model_dump() for objective in self.objectives]
        constraints = [constraint.model_dump(exclude_none=True) for constraint in self.constraints]
        return {
            "name": self.name,
            "objective": objectives if len(objectives) > 1 else objectives[0],
            **({"constraints": constraints} if constraints else {}),
            "parameters": {name: parameter.document() for name, parameter in self.parameters.items()},
            **({SECTION: [each.text for each in self.parameter_constraints]} if self.parameter_constraints else {}),
            "sampler": self.sampler.document(),
            "pruner": self.pruner.document(),
            "budget": self.budget.model_dump(),
            "duplicates": self.duplicates,
            "priority": self.priority,
            "deterministic": self.deterministic,
            **({"warm_start": self.warm_start.model_dump()} if self.warm_start else {}),
            **({ENQUEUE: [dict(point) for point in self.enqueue]} if self.enqueue else {}),
            "trial": self.trial,
            "resources": self.resources.model_dump(),
            **({"keep": self.keep.model_dump()} if self.keep != Keep() else {}),
            **({"rescore": self.rescore.model_dump()} if self.rescore else {}),
            **({"refit": self.refit.model_dump()} if self.refit else {}),
        }


def parse(document: object) -> Definition:
    """The definition that a document describes. A study without a seed gets one drawn.

    Raises:
        DefinitionError: the document is wrong; tells everything that could be found, in the document's order.
    """
    try:
        findings = check_plain(document)
        check_size(document)
    except NotPlain as error:
        raise DefinitionError(problems([error.finding], document)) from None
    if not isinstance(document, dict):
        raise DefinitionError(problems([Finding((), "must be a mapping of keys to values")], document))
    document = with_model(document)
    parameters, wrong = read_parameters(document["parameters"]) if "parameters" in document else ({}, [])
    findings += wrong
    objectives, wrong = read_objectives(document["objective"]) if "objective" in document else ((), [])
    findings += wrong + check_objectives(objectives, document)
    constraints, wrong = read_constraints(document.get("constraints", []))
    findings += wrong or check_constraints(constraints, document)
    inequalities, wrong = read_inequalities(document.get(SECTION, []))
    findings += wrong or check_inequalities(inequalities, parameters, document.get("parameters"))
    findings += _check_meaning(document, parameters)
    definition, wrong = _build(document, parameters, objectives, constraints, inequalities)
    findings += wrong
    if definition is not None and not findings and definition.kind == "train":
        findings += check_points(corners_of(definition.region), definition.trial) or _check_batches(definition)
    if definition is not None and definition.kind != "train":
        findings += _check_processes(definition)
    if definition is not None and not findings and ENQUEUE in document:
        points, findings = read_enqueued(
            document[ENQUEUE], definition.region, definition.told(), definition.sampler.name
        )
        definition = definition.model_copy(update={"enqueue": points})
        findings = findings or _check_enqueued(definition)
    if definition is not None and not findings:  # it is stored as this document, and is to be read again
        findings = check_whole_size(definition.document())
    if definition is None or findings:
        raise DefinitionError(problems(findings, document))
    return definition


def submitted(document: object) -> Definition:
    """The definition of a new study: what its section `trial` sets must act in one of its trials. Later, when the space
    has been changed, some of it may not.

    Raises:
        DefinitionError: as `parse`, or a knob can act in no trial, or generations are too small to learn from.
    """
    definition = parse(document)
    findings = _check_popsize(definition.sampler)
    if definition.kind == "train":
        findings += idle_settings(definition.parameters, definition.trial)
    if findings:
        raise DefinitionError(problems(findings, document))
    return definition


def _check_popsize(sampler: SamplerSpec) -> list[Finding]:
    if not isinstance(sampler, CmaEs) or sampler.popsize is None or sampler.use_separable_cma:
        return []
    if sampler.popsize >= LEAST_POPSIZE:
        return []
    # The better half are parents; of one, the library's rank-mu update has the rate 0, by which it then divides.
    message = f"{sampler.popsize} trials have one parent, from which cmaes hardly learns how parameters go together"
    return [Finding(("sampler", "popsize"), message, f"at least {LEAST_POPSIZE}, or leave it out")]


def _check_enqueued(definition: Definition) -> list[Finding]:
    """The first trials are some of the budget's, and for the built-in training each must be one that it can run."""
    count, most = len(definition.enqueue), definition.budget.trials
    if count > most:
        return [
            Finding((ENQUEUE,), f"has {count:,} entries, and budget.trials is {most:,}", "raise it, or take some out")
        ]
    if definition.kind != "train":
        return []
    is_whole, points = Conditions(definition.parameters).is_whole, enumerate(definition.enqueue)
    wrong = ((place, check_points([point], definition.trial)) for place, point in points if is_whole(point))
    return [Finding((ENQUEUE, place), each.message, each.hint) for place, found in wrong for each in found]


def _check_meaning(document: dict[str, Any], parameters: dict[str, Parameter]) -> list[Finding]:
    """What the sections have to do with each other, as far as each can be read."""
    findings: list[Finding] = []
    trial, section = document.get("trial"), document.get("parameters")
    if "trial" in document:
        findings += check_trial(trial, parameters)
    if isinstance(trial, dict) and trial.get("kind", "train") == "train" and isinstance(section, dict):
        findings += check_knobs(parameters, trial, section)
    if document.get("deterministic") is True:
        findings += _check_deterministic(document)
    if document.get("rescore") is not None:
        findings += check_rescore(document)
    if document.get("refit") not in (None, False):
        findings += check_refit(document)
    if "warm_start" in document:
        findings += _check_learning(name_of(document.get("sampler", {"name": "auto"})))
    match name_of(document.get("sampler")):
        case "grid":
            findings += _check_grid(document, parameters)
        case "gp":
            findings += _check_gp(document.get("budget"))
        case "pbt":
            findings += check_population(document, parameters)
        case "cmaes" if parameters:
            findings += _check_ranges(parameters)
    return findings


def _check_grid(document: dict[str, Any], parameters: dict[str, Parameter]) -> list[Finding]:
    endless = [name for name, parameter in parameters.items() if parameter.size is None]
    if endless:
        hint = "give it a step or values, or take another sampler"
        return [Finding(("parameters", name), "is a range that no grid can exhaust", hint) for name in endless]
    budget = document.get("budget", {})
    size = Conditions(parameters).size or 0
    if isinstance(budget, dict) and "trials" not in budget and size > MOST_TRIALS:
        hint = f"say how many of them to try, at most {MOST_TRIALS:,}"
        return [Finding(("budget", "trials"), f"is missing, and the grid has {_count(size)} points", hint)]
    return []


def _check_ranges(parameters: dict[str, Parameter]) -> list[Finding]:
    if any(isinstance(parameter, Range) for parameter in parameters.values()):
        return []
    message = "cmaes searches ranges, and no parameter is one"
    return [Finding(("sampler", "name"), message, "take another sampler, such as tpe or nsga2")]


def _check_gp(budget: object) -> list[Finding]:
    trials = budget.get("trials") if isinstance(budget, dict) else None
    if not isinstance(trials, int) or trials <= MOST_GP_TRIALS:
        return []
    message = f"gp fits all trials at once, and takes {MOST_GP_TRIALS:,} at most, not {trials:,}"
    return [Finding(("budget", "trials"), message, "take fewer, or another sampler, such as tpe")]


def _check_deterministic(document: dict[str, Any]) -> list[Finding]:
    """What a study cannot have whose trials shall not depend on the workers' speed."""
    budget, pruner = document.get("budget"), document.get("pruner")
    findings = list(_check_heritage(document))
    if isinstance(budget, dict):
        if budget.get("parallel") is None:
            hint = "say how many trials run at once, as in parallel: 4"
            findings.append(Finding(("budget", "parallel"), "is missing, and a deterministic study needs it", hint))
        findings += [
            Finding(
                ("budget", key), "ends the search by the clock or by who is first", "leave it out, or deterministic"
            )
            for key in ("timeout", "device_hours", "target", "patience_trials")
            if budget.get(key) is not None
        ]
    names = (
        [each.get("name") for each in (pruner, pruner.get("wrapped")) if isinstance(each, dict)]
        if isinstance(pruner, dict)
        else []
    )
    findings += [
        Finding(("pruner", "name"), f"{name} lets trials race for places", f"take one of {', '.join(UNHURRIED)}")
        for name in names
        if isinstance(name, str) and name not in UNHURRIED
    ]
    return findings


def _check_heritage(document: dict[str, Any]) -> Iterator[Finding]:
    hint = "leave it out, or deterministic"
    message = "begins with whichever trial has ended by then"
    parameters, trial = document.get("parameters"), document.get("trial")
    if isinstance(parameters, dict) and "transfer.inherit" in parameters:
        yield Finding(("parameters", "transfer.inherit"), message, hint)
    transfer = trial.get("transfer") if isinstance(trial, dict) else None
    if isinstance(transfer, dict) and transfer.get("inherit", "none") != "none":
        yield Finding(("trial", "transfer", "inherit"), message, hint)


def _check_learning(sampler: str | None) -> list[Finding]:
    if sampler not in UNTEACHABLE:
        return []
    message = f"the sampler {sampler} {UNTEACHABLE[sampler]}"
    return [Finding(("warm_start",), message, "take another sampler, such as tpe, or leave it out")]


def _build(
    document: dict[str, Any],
    parameters: dict[str, Parameter],
    objectives: tuple[Objective, ...],
    constraints: tuple[Constraint, ...],
    inequalities: tuple[Inequality, ...],
) -> tuple[Definition | None, list[Finding]]:
    """The definition around what of it has been read, with the defaults that follow from other sections."""
    filled = {key: value for key, value in document.items() if key != ENQUEUE}
    trial = document.get("trial")
    if "parameters" in document:
        filled["parameters"] = parameters
    if "objective" in document:
        filled["objective"] = objectives
    if "constraints" in document:
        filled["constraints"] = constraints
    if SECTION in document:
        filled[SECTION] = inequalities
    if isinstance(trial, dict):
        filled["trial"] = {"kind": "train", **trial}
        filled |= pruner_of(document, parameters, trial)
    match name_of(document.get("sampler")):
        case "grid":
            filled |= whole_grid(document.get("budget", {}), parameters)
        case "pbt":
            filled |= of_population(document, parameters)
    try:
        return Definition.model_validate(filled, strict=True), []
    except ValidationError as error:
        return None, of_model(error, Definition, below=trial_keys())


def _check_processes(definition: Definition) -> list[Finding]:
    """Of a study whose trials are not of the built-in training."""
    if definition.resources.processes <= 1:
        return []
    message = f"a trial of kind {definition.kind} starts its own processes"
    return [Finding(("resources", "processes"), message, "leave it out")]


def _check_batches(definition: Definition) -> list[Finding]:
    """Each process of a group takes a piece of every batch, and norms need two rows of it."""
    ranks = definition.resources.ranks
    if ranks == 1:
        return []
    smallest = min(knob_values(corner)["batch_size"] for corner in definition.corners())
    if smallest >= 2 * ranks:
        return []
    path = ("parameters", "batch_size") if "batch_size" in definition.parameters else ("trial", "batch_size")
    message = f"a batch of {smallest} is split over {ranks} processes, each of which needs 2 rows"
    return [Finding(path, message, f"at least {2 * ranks}")]


def _count(number: int) -> str:
    return f"{number:,}" if number < 10**15 else f"more than 10^{len(str(number)) - 1}"
