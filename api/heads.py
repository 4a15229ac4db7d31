"""HEAD wherever there is GET (RFC 9110, 9.3.2): probes and load balancers ask so."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class AnswerHead:
    """Answers HEAD as GET would be answered, without the body; FastAPI's own routes know the methods they name alone.

    An event stream ends at once: to the app its reader is gone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        begun, asked = False, {**scope, "method": "GET"}

        async def heard() -> Message:
            return {"type": "http.disconnect"} if begun else await receive()

        async def headers_alone(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start" and not begun:
                begun = True
                scope["route"] = asked.get("route")  # for whoever counts requests by it
                await send(message)
                await send({"type": "http.response.body", "body": b""})

        await self._app(asked, heard, headers_alone)
