"""Two supervisors of one machine never serve the same GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from store.errors import SettingsError
from worker.claims import Claims
from worker.gpu import Gpu

GPUS = [Gpu(index, f"GPU-{index}0000000-1111", "Test GPU") for index in range(2)]


def test_a_gpu_that_was_named_is_refused_while_another_supervisor_serves_it(tmp_path: Path) -> None:
    Claims(tmp_path).take(GPUS[:1], "0")  # lives on as an open file, as that of a supervisor until its end

    with pytest.raises(SettingsError, match=rf"GPU 0 is served by another worker here \(process {os.getpid()}\); stop"):
        Claims(tmp_path).take(GPUS, "0,1")


def test_of_all_gpus_those_are_served_that_are_left(tmp_path: Path) -> None:
    Claims(tmp_path).take(GPUS[:1], "0")

    assert Claims(tmp_path).take(GPUS, "all") == GPUS[1:]
    with pytest.raises(SettingsError, match=r"--gpus all: GPU 0 is served .* GPU 1 is served"):
        Claims(tmp_path).take(GPUS, "all")
    assert Claims(tmp_path).take(GPUS, "all", least=0) == []


def test_a_supervisor_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from worker.claims import Claims; from worker.gpu import Gpu\n"
        "Claims(Path(sys.argv[1])).take([Gpu(0, 'GPU-00000000-1111', 'Test GPU')], '0'); os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, tmp_path], check=False)
    assert killed.returncode == -9

    assert Claims(tmp_path).take(GPUS, "0,1") == GPUS
