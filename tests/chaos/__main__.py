"""`python -m tests.chaos`: a campaign of faults by chance, with its figures and its seed."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.chaos.campaign import run_campaign
from tests.chaos.faults import FAULTS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trials", type=int, default=100, help="of each of the two studies; a square number")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=list(FAULTS), metavar="FAULT")
    parser.add_argument("--step-seconds", type=float, default=0.05)
    parser.add_argument("--keep", type=Path, help="the folder for data and logs; a temporary one if left out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"seed {given.seed}, data and logs in {folder}", flush=True)
        outcome = run_campaign(
            folder, given.seed, given.trials, 60 * given.minutes, given.faults, step_seconds=given.step_seconds
        )
    for what in outcome.wrong:
        print(f"WRONG: {what}")
    figures = {
        "seed": outcome.seed,
        "faults": dict(outcome.faults),
        "fault_count": outcome.faults.total(),
        "trials": sum(verdict.trials for verdict in outcome.verdicts.values()),
        "attempts": sum(verdict.attempts for verdict in outcome.verdicts.values()),
        "wrong": len(outcome.wrong),
        "recovery_p50": round(sorted(outcome.recoveries)[len(outcome.recoveries) // 2], 2)
        if outcome.recoveries
        else None,
        "recovery_p99": round(outcome.recovery_p99, 2),
        "recovery_max": round(max(outcome.recoveries, default=0.0), 2),
        "longest_gap": round(max(verdict.longest_gap for verdict in outcome.verdicts.values()), 1),
        "best": {name: verdict.best for name, verdict in outcome.verdicts.items()},
        "seconds": round(outcome.seconds),
    }
    print(json.dumps(figures))
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
