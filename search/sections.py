"""The sections of a study definition besides its parameters and its trial."""

from __future__ import annotations

import re
import secrets
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, FiniteFloat, model_validator

from search.knobs import METRIC

Name = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
Positive = Annotated[int, Field(ge=1, le=2**31 - 1)]
NonNegative = Annotated[int, Field(ge=0, le=2**31 - 1)]
Factor = Annotated[int, Field(ge=2, le=1_000)]
Share = Annotated[float, Field(ge=0, le=1)]
Multiplier = Annotated[FiniteFloat, Field(gt=0, le=1_000)]

Priority = Annotated[int, Field(ge=1, le=1_000)]  # slots of a pool are shared in proportion to it

MOST_TRIALS = 1_000_000
MOST_GP_TRIALS = 1_000  # time grows with the third power, memory with the second: 0.4 GB at 300
MOST_RANKS = 64

_TIME = "must be a time or a number of seconds; as in 2h, 90m, 1h30m or 45s"


def name_of(section: object) -> str | None:
    """Which sampler, pruner or schedule a section of an unchecked document is; None if it is no such section."""
    name = section.get("name") if isinstance(section, dict) else None
    return name if isinstance(name, str) else None


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Objective(Section):
    """What the search looks at, and which way is better."""

    metric: Annotated[str, Field(pattern=METRIC)]
    direction: Literal["minimize", "maximize"]


class _Named(Section):
    """A part that is chosen by its name and has options of its own."""

    @property
    def options(self) -> dict[str, Any]:
        """The options that were given; the others have their defaults."""
        return self.model_dump(exclude={"name", "seed"}, exclude_unset=True)

    def document(self) -> dict[str, Any]:
        chosen = self.model_dump(include={"name", "seed"})
        return {"name": chosen.pop("name"), **chosen, **self.options}


class _Seeded(_Named):
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(default_factory=lambda: secrets.randbelow(2**32))


class Grid(_Seeded):
    """Every point of a finite space, once."""

    name: Literal["grid"]


class Random(_Seeded):
    """Independent draws (Bergstra and Bengio 2012)."""

    name: Literal["random"]


class Tpe(_Seeded):
    """The tree-structured Parzen estimator (Bergstra et al. 2011; multivariate: Falkner et al. 2018)."""

    name: Literal["tpe"]
    n_startup_trials: NonNegative = 10
    n_ei_candidates: Annotated[int, Field(ge=1, le=10_000)] = 24
    multivariate: bool = True
    group: bool = False
    constant_liar: bool = True

    @model_validator(mode="after")
    def _groups_are_multivariate(self) -> Self:
        if self.group and not self.multivariate:
            raise ValueError("group works only with multivariate; leave out multivariate: false")
        return self


class Auto(_Seeded):
    """A model of where trials stand, whatever resource they have come to, with a share of random draws."""

    name: Literal["auto"]
    n_startup_trials: Annotated[int, Field(ge=1, le=2**31 - 1)] = 8
    random_share: Share = 0.25


class CmaEs(_Seeded):
    """Covariance matrix adaptation (Hansen 2016) over the ranges; choices are drawn independently."""

    name: Literal["cmaes"]
    n_startup_trials: NonNegative = 1
    popsize: Annotated[int, Field(ge=3, le=10_000)] | None = None  # 4 + 3 ln(ranges)
    consider_pruned_trials: bool = False
    use_separable_cma: bool = False
    with_margin: bool = False
    lr_adapt: bool = False

    @model_validator(mode="after")
    def _is_one_variant(self) -> Self:
        chosen = [name for name in ("use_separable_cma", "with_margin", "lr_adapt") if getattr(self, name)]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} are variants that exclude each other; choose one")
        return self


class _Genetic(_Seeded):
    """What NSGA-II and NSGA-III share: generations that are crossed and mutated."""

    population_size: Annotated[int, Field(ge=2, le=100_000)] = 50
    mutation_prob: Share | None = None  # one in as many as there are parameters
    crossover_prob: Share = 0.9
    swapping_prob: Share = 0.5


class Nsga2(_Genetic):
    """Evolution with elitism and crowding (Deb et al. 2002)."""

    name: Literal["nsga2"]


class Nsga3(_Genetic):
    """Evolution with reference points in the place of crowding (Deb and Jain 2014)."""

    name: Literal["nsga3"]
    dividing_parameter: Annotated[int, Field(ge=1, le=100)] = 3


class Qmc(_Seeded):
    """Points of a sequence that fills the space evenly (Bergstra and Bengio 2012)."""

    name: Literal["qmc"]
    qmc_type: Literal["sobol", "halton"] = "sobol"
    scramble: bool = False


class Gp(_Seeded):
    """Gaussian processes with the expected improvement in logarithms (Ament et al. 2023), as Optuna has them."""

    name: Literal["gp"]
    n_startup_trials: NonNegative = 10
    deterministic_objective: bool = False


class Pbt(_Seeded):
    """Population based training (Jaderberg et al. 2017): members train side by side, and the worst go on from the
    checkpoints of the best with knobs that are changed a little. The names are Ray Tune's."""

    name: Literal["pbt"]
    population_size: Annotated[int, Field(ge=2, le=10_000)] = 8
    perturbation_interval: Positive = 1  # steps
    burn_in_period: NonNegative = 0  # steps
    quantile_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.25
    resample_probability: Share = 0.25
    perturbation_factors: Annotated[list[Multiplier], Field(min_length=1, max_length=16)] = [0.8, 1.2]
    perturb: Annotated[list[str], Field(min_length=1)] | None = None  # all parameters that may be
    max_resource: Positive  # left out, the epochs of the built-in training


class NoPruner(_Named):
    """Every trial runs to its end."""

    name: Literal["none"]


class Median(_Named):
    """Stops a trial whose best value so far is worse than the median of the others at the same step."""

    name: Literal["median"]
    n_startup_trials: NonNegative = 5
    n_warmup_steps: NonNegative = 0
    interval_steps: Positive = 1
    n_min_trials: Positive = 1


class Percentile(Median):
    """Stops a trial whose best value so far is not among the best `percentile` per cent at the same step."""

    name: Literal["percentile"]  # type: ignore[assignment]  # the tag of the union; the options are the median's
    percentile: Annotated[float, Field(ge=0, le=100)]


class Threshold(_Named):
    """Stops a trial whose value leaves the given bounds."""

    name: Literal["threshold"]
    lower: FiniteFloat | None = None
    upper: FiniteFloat | None = None
    n_warmup_steps: NonNegative = 0
    interval_steps: Positive = 1

    @model_validator(mode="after")
    def _has_bounds_in_order(self) -> Self:
        if self.lower is None and self.upper is None:
            raise ValueError("needs lower, upper or both")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"lower {self.lower:g} is above upper {self.upper:g}; exchange them")
        return self


class SuccessiveHalving(_Named):
    """Stops a trial that is not among the best of its rung, without waiting for the rung to fill (Li et al. 2020)."""

    name: Literal["successive_halving"]
    min_resource: Positive = 1
    reduction_factor: Factor = 4
    min_early_stopping_rate: Annotated[int, Field(ge=0, le=30)] = 0
    bootstrap_count: NonNegative = 0


class _Bounded(_Named):
    """What halvings share that know the last step of a trial."""

    min_resource: Positive = 1
    max_resource: Positive  # left out, the epochs of the built-in training
    reduction_factor: Factor = 3

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.max_resource < self.min_resource:
            raise ValueError(
                f"max_resource {self.max_resource} is less than min_resource {self.min_resource}; raise it"
            )
        return self


class Hyperband(_Bounded):
    """Successive halving at several rates (Li et al. 2018), without waiting for a rung to fill (Li et al. 2020)."""

    name: Literal["hyperband"]
    bootstrap_count: NonNegative = 0


class Asha(_Bounded):
    """Asynchronous successive halving in which trials wait at a rung and are promoted later (Li et al. 2020)."""

    name: Literal["asha"]
    reduction_factor: Factor = 2
    least_complete: NonNegative = 4  # of the last trials the best go on until so many are complete


_Wrapped = Median | Percentile | Threshold | SuccessiveHalving | Hyperband


class Patient(_Named):
    """Lets another pruner stop a trial only after so many steps without improvement."""

    name: Literal["patient"]
    patience: NonNegative
    min_delta: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    wrapped: Annotated[_Wrapped, Field(discriminator="name")] | None = None  # none: it stops the trial itself


class Wilcoxon(_Named):
    """Stops a trial that a signed-rank test over the steps that it shares with the best one says is worse."""

    name: Literal["wilcoxon"]
    p_threshold: Share = 0.1
    n_startup_steps: NonNegative = 2


BOUNDED = ("hyperband", "asha")  # the pruners that must know the last step of a trial
UNHURRIED = ("none", "median", "percentile", "threshold", "patient", "successive_halving")  # may be deterministic
UNTEACHABLE = {  # the samplers that a warm start is nothing to, and why
    "grid": "learns from no trials",
    "random": "learns from no trials",
    "qmc": "learns from no trials",
    "cmaes": "learns from its own generations alone",
    "nsga2": "learns from its own generations alone",
    "nsga3": "learns from its own generations alone",
    "pbt": "learns from its own population alone",
}
SamplerSpec = Auto | Grid | Random | Tpe | Gp | CmaEs | Nsga2 | Nsga3 | Qmc | Pbt
PrunerSpec = NoPruner | Median | Percentile | Threshold | Patient | SuccessiveHalving | Hyperband | Asha | Wilcoxon


def _seconds(value: object) -> object:
    """A time such as 1h30m in seconds; what is no text is left to the field's own type."""
    if not isinstance(value, str):
        return value
    parts = re.fullmatch(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", value.strip(), re.ASCII)
    if not parts or not value.strip():
        raise ValueError(_TIME)
    units = (86_400, 3_600, 60, 1)
    return float(sum(int(count or 0) * unit for count, unit in zip(parts.groups(), units, strict=True)))


Seconds = Annotated[FiniteFloat, Field(gt=0, le=1e9), BeforeValidator(_seconds)]


class Budget(Section):
    """When the search ends, and how much of it runs at once."""

    trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)]
    parallel: Annotated[int, Field(ge=1, le=10_000)] | None = None  # as many as the pool has slots
    timeout: Seconds | None = None
    retries: Annotated[int, Field(ge=0, le=100)] = 2
    max_failed: Annotated[int, Field(ge=0, le=MOST_TRIALS)] | None = None
    device_hours: Annotated[FiniteFloat, Field(gt=0, le=1e9)] | None = None
    target: FiniteFloat | None = None  # of the objective
    patience_trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _half_may_fail(cls, budget: Any) -> Any:
        # Trials that diverge are part of a search; when most of them fail, the study is what is wrong.
        if not isinstance(budget, dict) or "max_failed" in budget or type(budget.get("trials")) is not int:
            return budget
        return {**budget, "max_failed": min(max(10, budget["trials"] // 2), MOST_TRIALS)}


class WarmStart(Section):
    """Another study's complete trials, for the sampler to learn from before the first one of this study."""

    study: Name
    trials: Annotated[int, Field(ge=1, le=100_000)] = 1_000  # the newest ones, at most


class Keep(Section):
    """Of how many of the best trials the files stay; null stands for all. Logs stay in any case."""

    models: Annotated[int, Field(ge=1, le=MOST_TRIALS)] | None = 50
    predictions: Annotated[int, Field(ge=1, le=MOST_TRIALS)] | None = 500


class Rescore(Section):
    """When the search has ended, so many of the best trials are trained again from other seeds."""

    best: Annotated[int, Field(ge=1, le=100)] = 10
    seeds: Annotated[int, Field(ge=2, le=50)] = 5


class Refit(Section):
    """When the search has ended, its best trial is trained again on the validation rows, too, from so many seeds."""

    seeds: Annotated[int, Field(ge=1, le=50)] = 1


class Resources(Section):
    """Where the trials run."""

    pool: Name = "default"
    gpus: Annotated[int, Field(ge=0, le=MOST_RANKS)] = 0  # of one machine, with a process on each
    processes: Annotated[int, Field(ge=1, le=MOST_RANKS)] = 1  # that train a trial together without a GPU
    memory: Annotated[ByteSize, Field(ge=1, le=2**53)] | None = None  # of the host, for one trial

    @model_validator(mode="after")
    def _has_a_process_a_gpu(self) -> Self:
        if self.gpus and self.processes > 1:
            raise ValueError(f"each GPU has one process; leave processes out, or gpus {self.gpus}")
        return self

    @property
    def ranks(self) -> int:
        """How many processes a training is split over."""
        return max(1, self.gpus, self.processes)
