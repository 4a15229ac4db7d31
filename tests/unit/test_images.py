"""The compose file and the images, as far as they can be judged without building them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


@pytest.fixture(scope="module")
def stages() -> dict[str, str]:
    """The text of each stage of the Dockerfile, with that of the stages it is made from."""
    texts: dict[str, str] = {}
    for part in re.split(r"^(?=FROM )", (ROOT / "docker" / "Dockerfile").read_text(), flags=re.M)[1:]:
        origin, name = re.match(r"FROM (\S+) AS (\S+)", part).groups()  # type: ignore[union-attr]
        texts[name] = texts.get(origin, "") + part
    return texts


def test_every_part_of_the_service_is_there(services: dict[str, Any]) -> None:
    commands = {name: service["command"][0] for name, service in services.items() if "build" in service}

    assert commands == {
        "migrate": "migrate",
        "server": "serve",
        "scheduler": "scheduler",
        "worker-cpu": "worker",
        "worker-gpu": "worker",
    }
    assert services.keys() - commands.keys() == {"postgres", "redis"}


def test_every_secret_must_be_given(services: dict[str, Any]) -> None:
    text = COMPOSE.read_text()
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|KEY))(.*?)\}", text)

    assert {name for name, _ in secrets} == {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "TRIALYARD_API_KEY"}
    assert all(rest.startswith(":?") for _, rest in secrets)


def test_the_example_names_every_variable_and_no_secret() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", COMPOSE.read_text()))
    example = dict(line.split("=", 1) for line in EXAMPLE.read_text().splitlines() if line and line[0] != "#")

    assert example.keys() == used
    assert [example[name] for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "TRIALYARD_API_KEY")] == ["", "", ""]


def test_redis_keeps_its_data_and_wants_a_password(services: dict[str, Any]) -> None:
    command = " ".join(services["redis"]["command"])

    assert "--appendonly yes" in command
    assert "--requirepass" in command


def test_only_the_server_is_published_and_to_this_machine_alone(services: dict[str, Any]) -> None:
    assert [name for name, service in services.items() if "ports" in service] == ["server"]
    assert services["server"]["ports"] == ["${TRIALYARD_PUBLISH:-127.0.0.1:8080}:8080"]
    assert "TRIALYARD_API_KEY" in services["server"]["environment"]


def test_nothing_that_needs_it_starts_before_the_database_has_its_schema(services: dict[str, Any]) -> None:
    for name in ("server", "scheduler"):
        conditions = {part: how["condition"] for part, how in services[name]["depends_on"].items()}
        assert conditions == {
            "postgres": "service_healthy",
            "redis": "service_healthy",
            "migrate": "service_completed_successfully",
        }
    for name in ("postgres", "redis", "server"):
        assert services[name]["healthcheck"]["test"]


def test_workers_have_no_way_to_the_database(services: dict[str, Any]) -> None:
    for name in ("worker-cpu", "worker-gpu"):
        assert "TRIALYARD_DATABASE_URL" not in services[name]["environment"]
        assert services[name]["depends_on"] == {"redis": {"condition": "service_healthy"}}
    assert "TRIALYARD_DATABASE_URL" in services["scheduler"]["environment"]


def test_the_gpu_worker_reserves_the_gpus_and_starts_on_request_alone(services: dict[str, Any]) -> None:
    (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]

    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert services["worker-gpu"]["profiles"] == ["gpu"]
    assert "profiles" not in services["worker-cpu"]


def test_images_run_as_an_ordinary_user_and_the_servers_has_no_torch(stages: dict[str, str]) -> None:
    for name in ("server", "worker"):
        # By number: Kubernetes, told `runAsNonRoot`, starts nobody whom it knows by name alone.
        assert re.findall(r"^USER (\S+)", stages[name], flags=re.M) == ["10001"]
        assert "useradd --uid 10001 " in stages[name]
    assert "COPY --from=build-server" in stages["server"]
    assert re.findall(r"'\.\[(.*)\]'", stages["build-server"]) == ["server,s3"]


def test_compose_itself_finds_nothing_wrong() -> None:
    compose = ["docker", "compose", "--file", COMPOSE]
    try:
        subprocess.run([*compose, "version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("docker compose is not installed")
    filled = {
        "POSTGRES_PASSWORD": "a",
        "REDIS_PASSWORD": "b",
        "TRIALYARD_API_KEY": "c",
        "PATH": "/usr/bin:/usr/local/bin",
    }
    for profile in ([], ["--profile", "gpu"]):
        subprocess.run([*compose, *profile, "config", "--quiet"], check=True, capture_output=True, env=filled)
