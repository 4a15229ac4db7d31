"""The newest answer that each sender was given: a request that comes twice is settled once and answered alike."""

from __future__ import annotations

from collections import OrderedDict

from store.messages import Answer, Reply, Request

MOST = 20_000  # senders, of a kilobyte each: every request of the API is one, and comes again for seconds at most

Addressed = tuple[str, Reply]  # a sender, and what it is told


class GivenAnswers:
    """Of the senders that were heard last."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, Reply] = OrderedDict()

    def has_come_before(self, request: Request) -> bool:
        """Whether a request, or a later one of its sender, has an answer."""
        newest = self._newest.get(request.sender)
        return newest is not None and request.sequence <= newest.sequence

    def again(self, request: Request) -> Addressed | None:
        """The answer to a request that has come before; None if its sender has gone on since."""
        newest = self._newest[request.sender]
        return (request.sender, newest) if request.sequence == newest.sequence else None

    def keep(self, request: Request, answer: Answer) -> Addressed:
        """What its sender is told from now on, should the request come again."""
        reply = self._newest[request.sender] = Reply(sequence=request.sequence, answer=answer)
        self._newest.move_to_end(request.sender)
        while len(self._newest) > MOST:
            self._newest.popitem(last=False)
        return request.sender, reply
