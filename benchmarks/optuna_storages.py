"""Optuna's storages as the peers of ours: where they lie, and what a process does that works with one of them."""

from __future__ import annotations

import importlib.util
import multiprocessing
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache

import optuna
import psycopg
from optuna.exceptions import ExperimentalWarning
from optuna.storages import (
    BaseStorage,
    GrpcStorageProxy,
    JournalStorage,
    RDBStorage,
    get_storage,
    run_grpc_proxy_server,
)
from optuna.storages.journal import JournalRedisBackend
from sqlalchemy import make_url

from benchmarks.past import SPACE, loss
from trialyard.local import free_port

NO_PRUNER = optuna.pruners.NopPruner()


@dataclass(frozen=True)
class PeerWork:
    """What a process of a peer does: trials of a study until the time is over."""

    storage: tuple[str, str]
    study: str
    sampler: str
    seconds: float

    def __call__(self) -> int:
        study = opened(self.storage, self.study, self.sampler)
        end = time.monotonic() + self.seconds
        done = 0
        while time.monotonic() < end:
            trial = study.ask()
            value = loss({name: trial.suggest_float(name, each.low, each.high) for name, each in SPACE.items()})
            trial.report(value, 1)
            assert not trial.should_prune()
            study.tell(trial, value)
            done += 1
        return done


@lru_cache(maxsize=1)  # so that old ones give up their connections
def opened(storage: tuple[str, str], name: str, sampler: str) -> optuna.Study:
    """A peer's study in this process, which has read its past."""
    study = optuna.load_study(
        study_name=name, storage=storage_of(*storage), sampler=sampler_of(sampler), pruner=NO_PRUNER
    )
    study.get_trials(deepcopy=False)
    return study


def storage_of(kind: str, address: str) -> BaseStorage:
    match kind:
        case "rdb":
            return RDBStorage(address)
        case "journal":
            return JournalStorage(JournalRedisBackend(address))
        case _:
            return GrpcStorageProxy(host="127.0.0.1", port=int(address))


def sampler_of(name: str) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler() if name == "tpe" else optuna.samplers.RandomSampler()


@contextmanager
def peers(server_url: str, journal_url: str, proxied: bool = True) -> Iterator[dict[str, tuple[str, str]]]:
    """The storages of the peers, by name: their kinds and addresses. `proxied`: with the gRPC proxy, if installed."""
    url = make_url(database(server_url, "optuna")).set(drivername="postgresql+psycopg")
    rdb = ("rdb", url.render_as_string(hide_password=False))
    storage_of(*rdb)  # makes the tables
    found = {"rdb": rdb, "journal": ("journal", journal_url)}
    with ExitStack() as stack:
        if proxied and importlib.util.find_spec("grpc") is not None:
            found["grpc"] = ("grpc", stack.enter_context(grpc_proxy(rdb)))
        yield found


@contextmanager
def grpc_proxy(rdb: tuple[str, str]) -> Iterator[str]:
    """The port of Optuna's proxy server in front of a storage."""
    port = free_port()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve_grpc, args=(rdb, port), daemon=True)
    process.start()
    proxy = GrpcStorageProxy(host="127.0.0.1", port=port)
    try:
        proxy.wait_server_ready(timeout=30)
        yield str(port)
    finally:
        proxy.close()
        process.terminate()
        process.join()


def _serve_grpc(rdb: tuple[str, str], port: int) -> None:
    warnings.simplefilter("ignore", ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    run_grpc_proxy_server(get_storage(storage_of(*rdb)), host="127.0.0.1", port=port)


def database(server_url: str, name: str) -> str:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server_url.rpartition('/')[0]}/{name}"
