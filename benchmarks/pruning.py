"""How long does a pruner take to decide when 10,000 trials have finished? Ours and Optuna's, which decide the same.

    python -m benchmarks.pruning [--quick]

Microseconds of the process's own time for one decision at a trial's first report; ours and stock by turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import time

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console
from rich.table import Table

from search.sorted_pruners import SortedHyperbandPruner, SortedMedianPruner

TRIALS = 10_000
HYPERBAND = {"min_resource": 1, "max_resource": 27, "reduction_factor": 3}
PAIRS: dict[str, tuple[BasePruner, BasePruner]] = {
    "median": (SortedMedianPruner(), MedianPruner()),
    "hyperband": (SortedHyperbandPruner(**HYPERBAND), HyperbandPruner(**HYPERBAND)),
}


def history() -> list[FrozenTrial]:
    """Finished trials with ten reports, all of which have reached the first rung of their bracket."""
    draws = random.Random(1)
    return [
        create_trial(
            value=draws.random(),
            intermediate_values={step: draws.random() for step in range(1, 11)},
            system_attrs={"completed_rung_0": draws.random()},
        )
        for _ in range(TRIALS)
    ]


def study_of(pruner: BasePruner, trials: list[FrozenTrial]) -> optuna.Study:
    study = optuna.create_study(study_name="s", pruner=pruner)
    study.add_trials(trials)
    return study


def decide(study: optuna.Study) -> tuple[bool, float]:
    """A new trial's first report: the decision, and the microseconds it took."""
    trial = study.ask()
    trial.report(0.5, 27)  # beyond every first rung
    frozen = study._storage.get_trial(trial._trial_id)
    start = time.process_time()
    decision = study.pruner.prune(study, frozen)
    microseconds = 1e6 * (time.process_time() - start)
    study.tell(trial, state=TrialState.FAIL)
    return decision, microseconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    decisions = 3 if parser.parse_args().quick else 60
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials = history()
    table = Table("pruner", "ours µs", "stock µs", "ratio", box=None)
    figures, ratios = {}, {}
    for name, pair in PAIRS.items():
        studies = [study_of(pruner, trials) for pruner in pair]
        decide(studies[0])  # the history is taken in here, once
        decide(studies[1])
        rounds = [(decide(studies[0]), decide(studies[1])) for _ in range(decisions)]
        assert all(ours[0] == stock[0] for ours, stock in rounds), "ours decides something else than stock"
        ours, stock = (statistics.median(each[place][1] for each in rounds) for place in (0, 1))
        table.add_row(name, f"{ours:.0f}", f"{stock:.0f}", f"{stock / ours:.0f}")
        figures[name] = {"ours_us": round(ours, 1), "stock_us": round(stock, 1)}
        ratios[f"{name}_stock_over_ours"] = round(stock / ours, 1)
    Console().print(table)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()[0]}
    print(json.dumps({"benchmark": "pruning", **machine, "microseconds": figures, "ratios": ratios}))


if __name__ == "__main__":
    main()
