"""What workers and the API say to the scheduler, and what it answers: one JSON document each, with a version.

Requests travel on the stream `trialyard:reports`, answers come back on the list of the one who asked. A request carries
its sender's address and a sequence number; the same request sent twice is settled once and answered alike.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter

from store.errors import BadRequest

DecisionName = Literal["continue", "prune", "stop", "pause"]

# What a worker and a scheduler must have in common, told where they meet: raised with every change of these messages.
PROTOCOL: Final = 7

MAX_STEP = 2**31 - 1  # the width of the column on PostgreSQL
LONGEST_NAME = 128  # the same of a worker's name and of a device's
LONGEST_METRIC = 128  # characters of a metric's name

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def without_controls(text: str) -> str:
    """A text as databases take it, and as no terminal and no log obeys it: a sign in the place of each control."""
    return text if text.isprintable() else _CONTROLS.sub("\ufffd", text)


# One message that the database does not take would come again and again, and no other would be settled.
Number = Annotated[int, Field(ge=0, le=MAX_STEP)]
Text = Annotated[str, AfterValidator(without_controls)]
MetricName = Annotated[str, Field(min_length=1, max_length=LONGEST_METRIC), AfterValidator(without_controls)]
Metrics = dict[MetricName, FiniteFloat]
WorkerName = Annotated[str, Field(max_length=LONGEST_NAME), AfterValidator(without_controls)]
# For people, who miss nothing: a group of GPUs is told by all their names.
Device = Annotated[Text, AfterValidator(lambda text: text[:LONGEST_NAME])]


class AttemptKey(NamedTuple):
    """Which attempt is meant. The attempt's number is the fence: it is refused once it has ended."""

    study_id: Number
    number: Number
    attempt: Number

    @property
    def token(self) -> str:
        """The key as workers that are not ours carry it."""
        return f"{self.study_id}.{self.number}.{self.attempt}"

    @classmethod
    def of_token(cls, token: str) -> AttemptKey:
        """Raises: BadRequest, if the text is no token."""
        try:
            study_id, number, attempt = (int(part) for part in token.split("."))
            return _KEYS.validate_python((study_id, number, attempt))
        except ValueError:
            raise BadRequest(f"token: {token[:40]!r} is none; use the one that `ask` returned") from None


_KEYS = TypeAdapter(AttemptKey)


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Request(_Message):
    v: Literal[1] = 1  # of requests alone: those that an older worker has spooled are still to be read
    sender: str = ""  # the list `trialyard:answer:<sender>` takes the answer; "" wants none
    sequence: int = 0


class Take(_Request):
    """A worker has picked up a job of this study and asks what to do: a trial, or the study's preflight."""

    kind: Literal["take"] = "take"
    study_id: Number
    number: Number | None = None  # the trial that the job was made for; None for a preflight
    worker: WorkerName
    device: Device


class Report(_Request):
    """Metrics of one step. The answer is a decision."""

    kind: Literal["report"] = "report"
    attempt: AttemptKey
    step: Number
    metrics: Metrics


class Holds(_Request):
    """A worker asks whether its attempt, which has long said nothing, still runs. The answer is a decision."""

    kind: Literal["holds"] = "holds"
    attempt: AttemptKey


class Finish(_Request):
    """The end of an attempt. With `pull` the sender also asks for the study's next trial.

    `finished`: the trial is done, `metrics` are its final ones. `failed`: its own fault, `reason` says why; it is not
    tried again. `diverged`: the same, and the sampler shall keep away. `infeasible`: it cannot run with these
    parameters, for want of device memory. `lost`: the process died or the machine failed; it is tried again,
    `budget.retries` times. `pruned` and `paused` obey a decision. `returned`: the worker had to leave; the trial runs
    elsewhere and nothing is counted.
    """

    kind: Literal["finish"] = "finish"
    attempt: AttemptKey
    outcome: Literal["finished", "failed", "diverged", "infeasible", "lost", "pruned", "paused", "returned"]
    metrics: Metrics = {}
    reason: Text | None = None
    pull: bool = False


class Preflighted(_Request):
    """The preflight of a study on a worker: what it found wrong (nothing: the study may run), and the data's facts."""

    kind: Literal["preflighted"] = "preflighted"
    study_id: Number
    problems: list[dict[str, Text]] = []
    facts: dict[str, Any] = {}


class TakeTask(_Request):
    """A worker has picked up the job of a task and asks what to do."""

    kind: Literal["take_task"] = "take_task"
    study_id: Number
    number: Number
    worker: WorkerName


class FinishTask(_Request):
    """The end of a task's attempt. `failed`: the reason says why, it is not tried again. `lost`: the process died; it
    is tried again. `returned`: the worker had to leave."""

    kind: Literal["finish_task"] = "finish_task"
    attempt: AttemptKey  # its number is the task's
    outcome: Literal["finished", "failed", "lost", "returned"]
    result: dict[str, Any] = {}
    reason: Text | None = None


class Ask(_Request):
    """A worker that is not ours asks for up to `count` trials of an external study."""

    kind: Literal["ask"] = "ask"
    study_id: Number
    worker: WorkerName
    count: Annotated[int, Field(ge=1, le=1000)] = 1


class Enqueue(_Request):
    """A person wants a trial with these parameters, which have been checked against the study's space."""

    kind: Literal["enqueue"] = "enqueue"
    study_id: Number
    parameters: dict[str, Any]


class CancelTrial(_Request):
    """A person ends one open trial."""

    kind: Literal["cancel_trial"] = "cancel_trial"
    study_id: Number
    number: Number


class RetryTrial(_Request):
    """A person wants a FAILED or CANCELLED trial to run again."""

    kind: Literal["retry_trial"] = "retry_trial"
    study_id: Number
    number: Number


class Amend(_Request):
    """A person changes a study: `budget` holds the keys that change, `parameters` the entries that do or are new.

    `parameter_constraints` takes the place of the whole section; None leaves it as it is.
    """

    kind: Literal["amend"] = "amend"
    study_id: Number
    budget: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    parameter_constraints: list[Any] | None = None
    priority: int | None = None

    @property
    def changes_space(self) -> bool:
        return bool(self.parameters) or self.parameter_constraints is not None


class Gone(_Request):
    """The supervisor of a worker has seen its process die: what it held is lost, and why."""

    kind: Literal["gone"] = "gone"
    worker: WorkerName
    reason: Text


class Wake(_Request):
    """A study was made or its state changed in SQL: look now rather than at the next round."""

    kind: Literal["wake"] = "wake"
    study_id: Number


Request = (
    Take
    | Report
    | Holds
    | Finish
    | Preflighted
    | TakeTask
    | FinishTask
    | Ask
    | Enqueue
    | CancelTrial
    | RetryTrial
    | Amend
    | Gone
    | Wake
)


class Membership(_Message):
    """What a trial of a population has beside its parameters: its checkpoints stay, as others may go on from them."""

    copies: AttemptKey | None = None  # whose checkpoint it goes on from, if `resumable` has none
    spent: list[int] = []  # its own earlier attempts whose checkpoints nobody goes on from any more
    ends: bool = False  # the search is over: it is finished as its checkpoint has it


class Assignment(_Message):
    """A trial to run, as one attempt. `trial` is the study's trial section with the parameters put in."""

    kind: Literal["assignment"] = "assignment"
    attempt: AttemptKey
    study: str
    parameters: dict[str, Any]
    trial: dict[str, Any]
    metric: str
    direction: Literal["minimize", "maximize"]
    watched: list[str] = []  # all metrics that the search looks at: they must be finite
    resumable: list[int] = []  # earlier attempts of this trial, newest first: their checkpoints may be gone on with
    reported: Metrics = {}  # what those have reported last: it counts where there is nothing left to do
    origins: dict[str, AttemptKey] = {}  # of sources `trial:…`, the attempts whose models are begun with
    ranks: int = 1  # processes that the training is split over
    inherits: AttemptKey | None = None  # whose weights it begins with, as far as they fit
    membership: Membership | None = None


class PreflightTask(_Message):
    """Read the data's schema and build the model at the corners of the space, before any trial."""

    kind: Literal["preflight"] = "preflight"
    study_id: Number
    study: str
    definition: dict[str, Any]
    origins: dict[str, AttemptKey] = {}


class TaskAssignment(_Message):
    """A task to do, as one attempt. `task` names its kind."""

    kind: Literal["task"] = "task"
    attempt: AttemptKey
    task: str
    request: dict[str, Any]


class Nothing(_Message):
    """There is nothing to do now."""

    kind: Literal["nothing"] = "nothing"
    retry_after: float = 1.0


class Decision(_Message):
    """What an attempt shall do after a report. `stale`: it has ended already, its messages are refused."""

    kind: Literal["decision"] = "decision"
    decision: DecisionName
    stale: bool = False


class Settled(_Message):
    """The end of an attempt was accepted, or was not because it had ended before (`stale`); and what comes next. A task
    that was deleted while it was done is `gone`: nobody wants what it has left.
    """

    kind: Literal["settled"] = "settled"
    stale: bool = False
    gone: bool = False
    next: Assignment | None = None


class Handed(_Message):
    """The answer to `ask`: attempts to run, none when there is nothing to do now or ever again (`ended`)."""

    kind: Literal["handed"] = "handed"
    items: list[Assignment] = []
    retry_after: float = 1.0
    ended: bool = False


class Done(_Message):
    """What a person asked for has been done; `number` is the trial that it was about."""

    kind: Literal["done"] = "done"
    number: int | None = None


class Refused(_Message):
    """A request that cannot be right, or not as things stand; the text says why."""

    kind: Literal["refused"] = "refused"
    message: str


Answer = Assignment | PreflightTask | TaskAssignment | Nothing | Decision | Settled | Handed | Done | Refused


class Reply(_Message):
    """An answer on its way: `sequence` is that of the request."""

    sequence: int
    answer: Annotated[Answer, Field(discriminator="kind")]


REQUESTS: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="kind")])
