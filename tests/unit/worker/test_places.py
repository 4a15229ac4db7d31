"""What a slot's processes find in their environment."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from store.settings import Settings
from worker.places import HEAP, Place, environment_of

# Memory as a training takes it: many tensors of a step, given back together; pages are what the kernel had to fill.
STEPS = """
import resource
def step():
    return [bytearray(6 << 20) for _ in range(8)]
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have settings of their own")
def test_a_slots_processes_keep_the_memory_of_a_step_for_the_next() -> None:
    environment = environment_of(Settings(), Place(label="cpu-0", threads=1))

    def pages(environment: dict[str, str]) -> int:
        command = [sys.executable, "-c", STEPS]
        return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    # 5 steps of 48 MiB in pages of 4 KiB are 61,440: without the setting most of them are given back and taken again.
    assert pages(environment) < 6_000
    assert pages({name: value for name, value in environment.items() if name not in HEAP}) > 12_000
