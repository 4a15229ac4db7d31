"""How a worker joins a service by its server's address: it asks for the others, and looks whether they lead there."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from importlib.metadata import version
from typing import Any, NoReturn

import httpx
import redis
from pydantic import ValidationError
from redis.exceptions import RedisError

from store.addresses import host_of, is_loopback, without_password
from store.artifacts import Artifacts
from store.bus import open_redis
from store.errors import SettingsError
from store.joining import MARK_FILE, MARK_KEY, Joining
from store.messages import PROTOCOL
from store.roster import read_scheduler, scheduler_heard_for
from store.settings import Settings

PATIENCE_SECONDS = 300.0  # for a server that does not answer: it may be starting, as this machine is
PAUSE_SECONDS = (0.5, 1.0, 2.0, 5.0)  # the last one again and again
ANSWER_SECONDS = 30.0
LISTEN_SECONDS = 0.2
AWAY = (502, 503, 504)

Say = Callable[[str], None]


def join(settings: Settings, server_url: str, say: Say, patience: float = PATIENCE_SECONDS) -> Settings:
    """The settings with the server's addresses of Redis and the artifacts, which this machine reaches.

    What the machine's own environment sets goes before what the server says.

    Args:
        settings: with the key of a worker in `api_key`, where the server wants one.
        say: tells a person what is going on.

    Raises:
        SettingsError: the server does not let this machine join, or joining would lose trials; says what to do.
    """
    server_url = _checked(server_url)
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    if key and server_url.startswith("http:") and not is_loopback(host_of(server_url)):
        say(f"{server_url}: whoever listens on the way reads the key, and the password of Redis; use https://")
    server = _read(server_url, _ask(server_url, key, say, patience))
    _check_protocol(server_url, server.version, server.protocol)
    joined = settings.model_copy(update=_missing(settings, server))
    _check_redis(settings, joined.redis_url, server)
    _check_artifacts(settings, joined.artifacts, server)
    places = f"Redis at {without_password(joined.redis_url)}, artifacts at {without_password(joined.artifacts)}"
    say(f"joining {server_url} (Trialyard {server.version}): {places}")
    return joined


def _checked(server_url: str) -> str:
    with suppress(httpx.InvalidURL):
        url = httpx.URL(server_url)
        if url.scheme in ("http", "https") and url.host and not url.userinfo:
            return server_url.rstrip("/")
    raise SettingsError(f"--server {without_password(server_url)}: write it as in https://trialyard.example.org")


def _ask(server_url: str, key: str, say: Say, patience: float) -> httpx.Response:
    """The server's answer, waited for. Raises: SettingsError: it does not come."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    deadline = time.monotonic() + patience
    told = ""
    with httpx.Client(headers=headers, timeout=ANSWER_SECONDS) as http:
        for pause in itertools.chain(PAUSE_SECONDS, itertools.repeat(PAUSE_SECONDS[-1])):
            try:
                answer = http.post(f"{server_url}/api/v1/workers/join")
                if answer.status_code not in AWAY:
                    return answer
                why = f"{answer.status_code}: {_detail(answer)}"
            except httpx.TransportError as error:
                why = str(error) or type(error).__name__
                if "CERTIFICATE" in why:
                    hint = "SSL_CERT_FILE names the file of an authority of your own"
                    raise SettingsError(f"{server_url}: its certificate is not trusted here ({why}); {hint}") from error
            if time.monotonic() + pause > deadline:
                raise SettingsError(f"{server_url} did not let this worker join within {patience:g} s ({why})")
            if why != told:
                say(f"{server_url} cannot be joined yet ({why}); trying again for {patience:g} s")
                told = why
            time.sleep(pause)
    raise AssertionError("the pauses never end")


def _read(server_url: str, answer: httpx.Response) -> Joining:
    """Raises: SettingsError: the answer is not what a worker needs."""
    if answer.is_redirect:
        raise SettingsError(f"{server_url} sends elsewhere: to {answer.headers.get('location', '?')}; name that one")
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        why = "does not know the key in" if "authorization" in answer.request.headers else "wants a key, and none is in"
        hint = "`trialyard keys create NAME --role worker` makes one, on the server's machine"
        raise SettingsError(f"{server_url} {why} TRIALYARD_API_KEY; {hint}")
    if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED):
        hint = "is it the address of a Trialyard, and as new as this worker?"
        raise SettingsError(f"{server_url} knows nothing of workers that join ({answer.status_code}); {hint}")
    if not answer.is_success:
        raise SettingsError(f"{server_url} does not let this worker join: {_detail(answer)}")
    try:
        return Joining.model_validate_json(answer.content)
    except ValidationError:
        raise SettingsError(f"{server_url} answers as no Trialyard does that this worker knows") from None


def _detail(answer: httpx.Response) -> str:
    """What an answer says of itself; one of a proxy may be no JSON."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase


def check_scheduler(redis_url: str, say: Say = lambda _: None) -> None:
    """Before any slot is started. A scheduler that is not there yet may be any.

    Raises:
        SettingsError: this worker would not understand the active scheduler, or the Redis' address is none.
    """
    try:
        with closing(open_redis(redis_url, retries=0)) as client:
            said = _heard(client, say)
    except (RedisError, OSError):
        return  # the slots wait for it
    if said:
        _check_protocol("the scheduler", said["version"], int(said["protocol"]))


def _heard(client: redis.Redis, say: Say) -> dict[str, str]:
    """What the active scheduler says. The word of one that was stopped for an upgrade stands for a while yet: one that
    this worker would not understand is believed when it renews its word.
    """
    said, left = read_scheduler(client), scheduler_heard_for(client)
    if left is not None and _is_strange(said):
        say(f"the scheduler was Trialyard {said['version']}, whose messages differ; looking whether it is still there")
    while left is not None and _is_strange(said):
        time.sleep(LISTEN_SECONDS)
        before, left = left, scheduler_heard_for(client)
        said = read_scheduler(client)
        if left is not None and left > before:
            break
    return said


def _is_strange(said: dict[str, str]) -> bool:
    return bool(said) and int(said["protocol"]) != PROTOCOL


def _check_protocol(who: str, theirs: str, protocol: int) -> None:
    if protocol != PROTOCOL:
        raise SettingsError(
            f"{who} is Trialyard {theirs} and this worker {version('trialyard')}: their messages differ (version "
            f"{protocol} there, {PROTOCOL} here); install the same version on both"
        )


def _missing(settings: Settings, server: Joining) -> dict[str, Any]:
    """What the server says of things that this machine's environment leaves open."""
    addresses = {name: getattr(server, name) for name in ("redis_url", "artifact_url") if not getattr(settings, name)}
    rhythm = {"lease_seconds": server.lease_seconds, "beat_seconds": server.beat_seconds}
    return addresses | {name: value for name, value in rhythm.items() if name not in settings.model_fields_set}


# Whether the addresses lead where the server's do


def _check_redis(settings: Settings, url: str, server: Joining) -> None:
    """Raises: SettingsError: the server's Redis is not what this machine finds at the address."""
    try:
        with closing(open_redis(url, retries=0)) as client:
            found = client.get(MARK_KEY)
    except (RedisError, OSError) as error:
        why = f"there is no Redis for us ({error})"
    else:
        if found == server.mark.encode():
            return
        why = "a Redis answers, but another one than the server's"
    _refuse_redis(settings, url, why)


def _refuse_redis(settings: Settings, url: str, why: str) -> NoReturn:
    where = without_password(url)
    new = "redis://:PASSWORD@HOST:6379/0"
    if settings.redis_url:
        raise SettingsError(f"TRIALYARD_REDIS_URL of this machine is {where}: {why}; correct it, or leave it out")
    if url.startswith("unix:"):
        raise SettingsError(
            f"the server's Redis listens on a socket of the server's machine alone ({where}): here {why}. Start the "
            f"server with a Redis that all machines reach, TRIALYARD_REDIS_URL={new}"
        )
    if is_loopback(host_of(url)):
        raise SettingsError(
            f"the server reaches its Redis at {where}, which is this machine here: {why}. Tell the server how workers "
            f"reach it: TRIALYARD_WORKER_REDIS_URL={new}"
        )
    raise SettingsError(
        f"the server says that workers reach Redis at {where}: {why}. Let this machine through to it, or tell the "
        f"server another address for workers: TRIALYARD_WORKER_REDIS_URL={new}"
    )


def _check_artifacts(settings: Settings, url: str, server: Joining) -> None:
    """Raises: SettingsError: what is trained here would not arrive where the server looks for it."""
    where = without_password(url)
    try:
        folder = Artifacts(url).service()
        found = folder.read(MARK_FILE)
        if found == server.mark.encode():
            probe = f"probe-{socket.gethostname()}"
            folder.write(probe, b"")
            folder.delete(probe)
            return
        why = "other artifacts than the server's are here"
    except FileNotFoundError:
        why = "the server's artifacts are not here"
    except Exception as error:  # noqa: BLE001 - each store of fsspec's has errors of its own
        why = f"it cannot be used here ({type(error).__name__}: {error})"
    if settings.artifact_url:
        raise SettingsError(f"TRIALYARD_ARTIFACT_URL of this machine is {where}: {why}; correct it, or leave it out")
    if not url.startswith("file:"):
        raise SettingsError(f"the server keeps its artifacts at {where}: {why}")
    raise SettingsError(
        f"the server keeps its artifacts in a folder, {where}: {why}, and what is trained here would be lost. Mount "
        "that folder on this machine (and name it in TRIALYARD_ARTIFACT_URL, if it is elsewhere), or start server and "
        "workers with a bucket, TRIALYARD_ARTIFACT_URL=s3://bucket/path"
    )
