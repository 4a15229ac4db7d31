"""CUDA's Multi-Process Service, which lets the slots of a GPU compute at the same time instead of in turns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

VARIABLE = "CUDA_MPS_PIPE_DIRECTORY"
DEFAULT = "/tmp/nvidia-mps"  # noqa: S108 - where NVIDIA's daemon has its pipes if it is not told otherwise


def mps_folder(environment: Mapping[str, str]) -> Path | None:
    """Where a daemon listens that CUDA will find by itself; None if none does."""
    folder = Path(environment.get(VARIABLE) or DEFAULT)
    return folder if (folder / "control").exists() else None
