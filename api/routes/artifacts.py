"""What trials leave behind: listed, downloaded, and their models put into other forms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Path
from starlette.responses import StreamingResponse

from api.bundle import bundle, bundle_bytes, pieces, zipped
from api.deps import Number, PathStudy, Reading, StudyName, Wired
from api.errands import ConvertBody, have_done
from api.kept_models import MODEL, model_of
from api.model_card import model_card
from api.requests import StrictRoute
from api.result_shapes import Artifact
from api.shapes import Page
from store.errors import NotFound
from store.messages import AttemptKey
from store.models import StudyRow, TrialState
from store.studies import Studies
from store.trials import Trials

router = APIRouter(prefix="/studies/{name}/trials/{number}/artifacts", route_class=StrictRoute, tags=["models"])

BUNDLE = "model"
OF_SCRIPT = "checkpoints"  # the folder that an own objective was given
TYPES = {"txt": "text/plain; charset=utf-8", "json": "application/json", "npz": "application/zip"}

ArtifactId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="as the list has it")]


@router.get("")
def list_artifacts(session: Reading, study: PathStudy, number: Number, parts: Wired) -> Page[Artifact]:
    """The files of the trial's newest attempt; `model` is its model in one zip, with all that it takes to use it, and
    `checkpoints`, with the bytes of the files in it, a zip of what an own objective has written into its folder.
    """
    trials = Trials(session, study)
    key = _newest(trials, number)
    if key is None:
        return Page(items=[])
    folder = parts.artifacts.attempt(key)
    sizes, written = folder.sizes(), folder.below(OF_SCRIPT)
    items = [Artifact(id=name, attempt=key.attempt, bytes=size) for name, size in sizes.items()]
    if MODEL in sizes and trials.get(number).state == TrialState.COMPLETE:
        card = model_card(study, trials.get(number), trials.attempt(key), sizes)
        whole = bundle_bytes(sizes, card, _stem(study, number))
        items.insert(0, Artifact(id=BUNDLE, attempt=key.attempt, bytes=whole))
    if written:
        items.insert(0, Artifact(id=OF_SCRIPT, attempt=key.attempt, bytes=sum(written.values())))
    return Page(items=items)


@router.get("/{id}", response_class=StreamingResponse)
def read_artifact(
    session: Reading,
    study: PathStudy,
    number: Number,
    id: ArtifactId,  # noqa: A002 - its name in the contract
    parts: Wired,
) -> StreamingResponse:
    """A file of the trial's newest attempt; `model` and `checkpoints` as a zip."""
    trials = Trials(session, study)
    key = _newest(trials, number)
    folder = None if key is None else parts.artifacts.attempt(key)
    stem = _stem(study, number)
    if id == BUNDLE:
        attempt = model_of(parts, study, trials, number)
        of_model = parts.artifacts.attempt(attempt)
        card = model_card(study, trials.get(number), trials.attempt(attempt), of_model.names())
        file = bundle(of_model, card, stem)
        return _download(pieces(file), f"{stem}.zip", "application/zip")
    if id == OF_SCRIPT and folder is not None and (written := folder.below(OF_SCRIPT)):
        files = {f"{stem}/{file.removeprefix(f'{OF_SCRIPT}/')}": file for file in written}
        return _download(zipped(folder, files), f"{stem}-{OF_SCRIPT}.zip", "application/zip")
    try:
        if folder is None:
            raise FileNotFoundError
        file = folder.open(id)
    except FileNotFoundError:
        raise NotFound(f"trial {number} of the study {study.name!r} has no file {id!r}") from None
    return _download(pieces(file), f"{stem}-{id}", TYPES.get(id.rpartition(".")[2], "application/octet-stream"))


@router.post("", status_code=201)
def convert_model(name: StudyName, number: Number, body: ConvertBody, parts: Wired) -> Artifact:
    """Put the trial's model into another form beside it: `onnx`, `torch` for a program of torch.export, or `int8` with
    linear layers in eight bits.

    A worker makes it. Of the first two it keeps what says of real rows what the original says; of the last it measures
    what it is worth and costs beside the original.
    """
    with parts.reads() as session:
        study = Studies(session).get(name)
        attempt = model_of(parts, study, Trials(session, study), number)
    request = {"trial": number, "attempt": attempt.attempt, "form": body.form}
    done = have_done(parts, study, "convert", request)
    size = parts.artifacts.attempt(attempt).sizes()[done["name"]]
    return Artifact(id=done["name"], attempt=attempt.attempt, bytes=size, measured=done.get("measured"))


def _newest(trials: Trials, number: int) -> AttemptKey | None:
    """Raises: NotFound: there is no such trial."""
    trials.get(number)
    return trials.newest_attempt(number)


def _stem(study: StudyRow, number: int) -> str:
    """What the names of downloads begin with."""
    return f"{study.name}-{number}"


def _download(content: Iterator[bytes], name: str, media_type: str) -> StreamingResponse:
    return StreamingResponse(
        content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
