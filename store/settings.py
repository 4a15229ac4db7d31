"""The settings of every process, read from the environment once, in `main`, and passed on."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ByteSize, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Environment variables `TRIALYARD_<NAME>`; units stand in the names.

    Without `database_url` and `artifact_url` both live under `home_dir`. Without `redis_url` only the embedded commands
    (`run`, `up`) work: they start a Redis of their own and pass its address on.
    """

    model_config = SettingsConfigDict(env_prefix="TRIALYARD_", frozen=True, extra="ignore")

    home_dir: Path = Path("~/.trialyard")
    database_url: str = ""
    redis_url: str = ""
    worker_redis_url: str = Field(default="", description="how workers reach it, if another way")
    artifact_url: str = ""
    data_dir: str = Field(default="", description="folders that `file:` sources may read, separated like PATH")
    objectives_file: Path | None = Field(
        default=None, description="objectives.toml: the worker's own objectives by name"
    )

    hf_hub: bool = Field(
        default=False, description="whether pretrained models (`hf:`) may be fetched from the Hugging Face Hub"
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    api_key: SecretStr | None = Field(
        default=None, description="a key that always works, besides those in the database"
    )
    max_body_bytes: int = Field(default=8 * 2**20, gt=0)
    access_log: bool = Field(default=False, description="log every request, not only those that were refused or failed")
    max_dataset_bytes: int = Field(default=2**30, gt=0, description="the largest data set that may be uploaded")

    beat_seconds: float = Field(default=2.0, gt=0, description="between two signs of life of a worker")
    lease_seconds: float = Field(default=8.0, gt=0, description="silence after which a worker counts as lost")
    external_lease_seconds: float = Field(default=600.0, gt=0, description="the same for attempts handed out by `ask`")
    scheduler_lease_seconds: float = Field(default=5.0, gt=0, description="silence after which a standby takes over")
    pull_seconds: float = Field(default=5.0, ge=0, description="how long one job goes on pulling short trials")
    crowd_seconds: float = Field(
        default=30.0, gt=0, description="how long a number of slots is tried, where it is to be found out (auto)"
    )
    runner_trials: int = Field(default=1000, ge=1, description="a runner is replaced after so many trials,")
    runner_growth: ByteSize = Field(
        default=ByteSize(4 * 2**30), gt=0, description="or when it has grown by so much since its first one"
    )
    warm_runners: bool = Field(
        default=True, description="whether a runner imports PyTorch while it waits for its first job, not with it"
    )
    grace_seconds: float = Field(
        default=20.0, gt=0, description="from SIGTERM to SIGKILL, for a checkpoint and a goodbye"
    )
    predict_seconds: float = Field(
        default=30.0, gt=0, description="how long a request for predictions waits for a worker"
    )
    idle_seconds: float = Field(
        default=1.0, gt=0, description="how often the scheduler looks round when nothing comes in"
    )

    @property
    def home(self) -> Path:
        return self.home_dir.expanduser().absolute()

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'trialyard.db'}"

    @property
    def artifacts(self) -> str:
        return self.artifact_url or (self.home / "artifacts").as_uri()

    @property
    def data_folders(self) -> tuple[Path, ...]:
        """The folders below which `file:` sources may lie; a relative source is looked for in each, in this order."""
        return tuple(Path(folder).expanduser().absolute() for folder in self.data_dir.split(os.pathsep) if folder)
