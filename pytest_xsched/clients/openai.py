"""Requests to servers with OpenAI's API: chat and completions, streamed or not."""

from __future__ import annotations

import json
import time
from typing import Any

from pytest_xsched.base.constants import TOKEN
from pytest_xsched.clients.functions import UserFunction
from pytest_xsched.clients.http import HttpSender
from pytest_xsched.clients.request import Failed, Request
from pytest_xsched.scenario.endpoint import Endpoint

_OVER = b"[DONE]"


class OpenAISender(HttpSender):
    """Sends requests for chat or completions, and reports each piece of a streamed answer.

    Args:
        endpoint: its body is the JSON object that all requests share.
        prompt: the user's function that returns messages or a prompt.
    """

    def __init__(self, endpoint: Endpoint, prompt: UserFunction | None = None) -> None:
        super().__init__(endpoint, prompt)
        self._shared = json.loads(endpoint.body)
        self._is_chat = endpoint.api == "chat"
        self._is_stream = bool(self._shared["stream"])
        self._has_function = prompt is not None

    def prepare(self, number: int, sizes: dict[str, int] | None) -> bytes:
        """Return the JSON of a request."""
        body = dict(self._shared)
        name = "messages" if self._is_chat else "prompt"
        if self._has_function:
            body[name] = self.payloads.returned(number, sizes)
        elif name not in body:
            if not sizes or "tokens_in" not in sizes:
                raise Failed(f"there are no {name}, and the load has no sizes")
            # Each prompt starts in another way: a server may have the start in its cache.
            body[name] = " ".join([f"{number}", *["word"] * (sizes["tokens_in"] - 1)])
        if self._is_chat and isinstance(body[name], str):
            body[name] = [{"role": "user", "content": body[name]}]
        if sizes and "tokens_out" in sizes:
            body.setdefault("max_tokens", max(1, sizes["tokens_out"]))
        return json.dumps(body).encode()

    async def receive(self, request: Request, answer: Any) -> None:
        """Read an answer; each piece of a stream is a milestone."""
        if answer.status // 100 != 2 or not self._is_stream:
            await super().receive(request, answer)
            return
        if "json" in answer.headers.get("Content-Type", ""):
            raise Failed("the answer is one piece of JSON, and no stream")
        stream, rest, is_over = answer.content, b"", False
        while data := await stream.readany():
            now_ns = time.monotonic_ns()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if not line.startswith(b"data:"):
                    continue
                text = line[5:].strip()
                if text == _OVER:
                    request.end()
                    is_over = True
                elif self._has_token(text):
                    request.reach(TOKEN, now_ns)
        if not is_over:
            raise Failed("the stream ended without [DONE]")

    def _has_token(self, text: bytes) -> bool:
        """Check whether an event of the stream has text of the answer.

        Raises:
            Failed: it has an error, or is no JSON.
        """
        try:
            event = json.loads(text)
            if "error" in event:
                error = event["error"]
                what = error.get("message", error) if isinstance(error, dict) else error
                raise Failed(f"the stream has an error: {what}")
            for choice in event["choices"]:
                if not self._is_chat:
                    return bool(choice.get("text"))
                delta = choice.get("delta") or {}
                names = ("content", "reasoning_content", "reasoning", "tool_calls")
                return any(delta.get(name) for name in names)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Failed("the stream has an event that is not of this API") from None
        return False
