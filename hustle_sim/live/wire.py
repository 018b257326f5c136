"""The two dialogues from the backend's side: what a request asks, and the bodies of its answers."""

from __future__ import annotations

import json
import zlib
from http.client import responses
from typing import NamedTuple

from tornado.httputil import HTTPServerRequest

MODEL = "practice"

REPLIES = (
    "Good question. What would be the smallest step you could take today?",
    "You are closer than you think: name the one thing that is in the way.",
    "Let's turn that into a plan: pick a time, pick a place, and start with ten minutes.",
    "That sounds like a lot at once. Which part matters most this week?",
    "Nice progress! Write down what worked, so that you can do it again.",
    "Take a short break, then come back to the hardest part first.",
    "What would you tell a friend who asked you this?",
    "Set a deadline for yourself, and tell someone about it.",
)


class Answer(NamedTuple):
    """What goes over the wire; status 0 drops the connection."""

    status_code: int
    body: bytes = b""
    retry_after_s: float | None = None


class Question(NamedTuple):
    """What a request asks: a health check has no text."""

    text: str | None
    key: str
    is_openai: bool

    def answer(self, version: str) -> bytes:
        """The body of a good answer."""
        if self.text is None:
            models = {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "hustle-sim"}]}
            return json.dumps(models if self.is_openai else {"status": "ok", "version": version}).encode()
        reply = reply_to(self.text)
        if not self.is_openai:
            return json.dumps({"reply": reply}).encode()
        message = {"role": "assistant", "content": reply}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return json.dumps({"object": "chat.completion", "model": MODEL, "choices": choices}).encode()


def read_question(request: HTTPServerRequest) -> Question | Answer:
    """What a request asks, or the refusal of one that can't be understood."""
    key = request.headers.get("Idempotency-Key", "").strip('"')
    route = (request.method, request.path)
    if route in (("GET", "/health"), ("GET", "/v1/models")):
        return Question(None, key, route[1] == "/v1/models")
    if route not in (("POST", "/chat"), ("POST", "/v1/chat/completions")):
        return refusal(404)
    is_openai = route[1] != "/chat"
    try:
        document = json.loads(request.body)
        text = document["messages"][-1]["content"] if is_openai else document["message"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        text = None
    return Question(text, key, is_openai) if isinstance(text, str) else refusal(400)


def reply_to(text: str) -> str:
    """A short answer of a coach; the same text gets the same one."""
    return REPLIES[zlib.crc32(text.encode("utf-8", "replace")) % len(REPLIES)]


def refusal(status_code: int, retry_after_s: float | None = None) -> Answer:
    """The answer that turns a request away."""
    reason = responses.get(status_code, "refused")
    return Answer(status_code, json.dumps({"error": {"message": reason}}).encode(), retry_after_s)
