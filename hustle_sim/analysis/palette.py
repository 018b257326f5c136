"""Colours, shapes and words, once for all screens: a status or an outcome always looks the same.

Nothing is told by colour alone: a status has a glyph, a word and a bar height beside it, an outcome a marker and a
word. The status colours stay apart for all kinds of colour vision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Theme = Literal["light", "dark"]


@dataclass(frozen=True, slots=True)
class Look:
    """How one word is shown.

    ``light`` and ``dark`` are colours for those themes, ``marker`` is a Bokeh marker, ``glyph`` one character of text.
    """

    word: str
    light: str
    dark: str
    marker: str = "circle"
    glyph: str = "●"

    def colour(self, theme: Theme) -> str:
        """The colour for a theme."""
        return self.dark if theme == "dark" else self.light


@dataclass(frozen=True, slots=True)
class StatusLook(Look):
    """How a status is shown: ``height`` (0..1) is that of its bar, ``text`` its colour as text on white."""

    text: str = "#000000"
    height: float = 1.0


STATUS: Mapping[str, StatusLook] = {
    "checking": StatusLook("checking", "#2B3D9A", "#555FAA", "circle", "○", text="#3E4481", height=0.25),
    "online": StatusLook("online", "#36A67F", "#37BBA3", "circle", "●", text="#127B5B", height=0.45),
    "degraded": StatusLook("degraded", "#B78E09", "#F1C426", "triangle", "▲", text="#A46509", height=0.7),
    "offline": StatusLook("offline", "#95091B", "#DF0720", "square", "■", text="#790B18", height=1.0),
}
"""What a monitor says, from the least to the most worrying."""

_UNREACHED, _BUSY, _BROKEN = ("#6A3D9A", "#B794E0"), ("#C9730B", "#F0A03C"), ("#7A4B24", "#C98F5F")
_OURS = ("#7F858C", "#9BA3AB")

OUTCOME: Mapping[str, Look] = {
    "ok": Look("answered", "#4A8CC7", "#5EA3E0", "circle", "●"),
    "timeout": Look("timed out", "#CC2F5A", "#FF6B8E", "x", "✕"),
    "refused": Look("connection refused", *_UNREACHED, "triangle", "▲"),
    "dns": Look("name not found", *_UNREACHED, "inverted_triangle", "▼"),
    "tls": Look("no safe connection", *_UNREACHED, "triangle_dot", "◬"),
    "rate_limited": Look("rate limited", *_BUSY, "square", "■"),
    "overloaded": Look("overloaded", *_BUSY, "square_x", "⊠"),
    "http_5xx": Look("server error", *_BROKEN, "diamond", "◆"),
    "bad_body": Look("unreadable answer", *_BROKEN, "diamond_dot", "◈"),
    "http_4xx": Look("refused by the server", *_BROKEN, "hex", "⬢"),
    "cancelled": Look("cancelled by us", *_OURS, "plus", "+"),
    "rejected": Look("not sent: breaker open", *_OURS, "asterisk", "∗"),
}
"""How an attempt ended."""

FATE: Mapping[str, Look] = {
    "first try": Look("first try", "#4A8CC7", "#5EA3E0"),
    "after retries": Look("after retries", "#2B5C8A", "#A9CDEE"),
    "cache": Look("from the cache", "#9DC6E8", "#2F6EA5"),
    "late": Look("late from the queue", "#E3A72F", "#F1C426"),
    "fallback": Look("fallback only, so far", "#B3B8BE", "#737B84"),
    "expired": Look("expired", "#8C6D4F", "#C39A72"),
    "dead": Look("given up", "#6A3D9A", "#B794E0"),
    "lost": Look("lost", "#CC2F5A", "#FF6B8E"),
}
"""What became of a message, from the best to the worst; the order of the stack."""

QUEUE: Mapping[str, Look] = {
    "accepted": Look("added", "#4A8CC7", "#5EA3E0", "triangle", "▲"),
    "delivered": Look("delivered", "#1D8A6A", "#37BBA3", "inverted_triangle", "▼"),
    "rejected": Look("turned away", "#7F858C", "#9BA3AB", "cross", "✚"),
    "expired": Look("expired", "#8C6D4F", "#C39A72", "hex", "⬢"),
    "dead": Look("given up", "#6A3D9A", "#B794E0", "diamond", "◆"),
    "dropped": Look("dropped without a trace", "#CC2F5A", "#FF6B8E", "x", "✕"),
}
"""What happened to messages in the queue."""

LOAD: Mapping[str, Look] = {
    "in service": Look("in service", "#4A8CC7", "#5EA3E0"),
    "waiting": Look("waiting", "#E3A72F", "#F1C426"),
}
"""The requests inside the backend."""

TRAFFIC: Mapping[str, Look] = {
    "first": Look("first tries", "#4A8CC7", "#5EA3E0"),
    "retry": Look("retries", "#CC2F5A", "#FF6B8E"),
    "replay": Look("replays from the queue", "#E3A72F", "#F1C426"),
    "probe": Look("health checks", "#B3B8BE", "#737B84"),
}
"""The requests that clients sent."""

STEP: Mapping[str, Look] = {
    "answered": Look("request, answered", "#4A8CC7", "#5EA3E0"),
    "failed": Look("request, failed", "#CC2F5A", "#FF6B8E"),
    "refused": Look("not sent: breaker open", *_OURS),
    "wait": Look("waiting to try again", "#B3B8BE", "#737B84"),
    "queue": Look("in the queue", "#E3A72F", "#F1C426"),
    "seen": Look("seen by the person", "#1D8A6A", "#37BBA3"),
    "decided": Look("decided", "#22272B", "#F2F4F5"),
    "ended": Look("ended without an answer", "#6A3D9A", "#B794E0"),
}
"""The steps in the life of a message."""

HEARTBEAT: Mapping[str, StatusLook] = {
    "well": StatusLook("answered", "#36A67F", "#37BBA3", "circle", "●", text="#127B5B", height=0.45),
    "partly": StatusLook("slow, or some failed", "#B78E09", "#F1C426", "triangle", "▲", text="#A46509", height=0.7),
    "failed": StatusLook("none answered", "#95091B", "#DF0720", "square", "■", text="#790B18", height=1.0),
    "none": StatusLook("no check", "#B3B8BE", "#737B84", "circle", "○", text="#5C646B", height=0.2),
}
"""A cell of the heartbeat bar: the health checks of one stretch of time."""

WAITING: Mapping[str, Look] = {
    "nothing": Look("nothing seen yet", "#CC2F5A", "#FF6B8E"),
    "second best": Look("offline or older answer seen", "#E3A72F", "#F1C426"),
}
"""What people have while they wait for the coach's answer."""

MODE: Mapping[str, Look] = {
    "refuse": Look("refuses connections", "#95091B", "#FF5A6E", glyph="✕"),
    "flap": Look("down and up again", "#B0356B", "#F28AB2", glyph="⇅"),
    "hang": Look("accepts, never answers", "#5B3A9E", "#B39AEF", glyph="∞"),
    "error": Look("answers with an error", "#7A4B24", "#D9A06C", glyph="!"),
    "bad_body": Look("cuts answers off", "#3E6B2F", "#93C47D", glyph="≠"),
    "rate_limit": Look("turns away above a rate", "#A85B00", "#F0A03C", glyph="⊖"),
    "brownout": Look("has less capacity", "#14667E", "#62BBD6", glyph="▾"),
    "slow": Look("gets slower", "#846300", "#E5C33A", glyph="≈"),
}
"""What a backend does in an outage; on a timeline each mode has a pattern beside its colour."""

_LINES = {"line": ("#22272B", "#F2F4F5"), "soft": ("#5C646B", "#AEB5BB"), "outage": ("#95091B", "#DF0720")}


def line(name: Literal["line", "soft", "outage"], theme: Theme) -> str:
    """The colour of lines (``line``, ``soft``) and of the shade over outages."""
    return _LINES[name][theme == "dark"]


def colours(looks: Mapping[str, Look], theme: Theme) -> dict[str, str]:
    """Colours by word (``"timed out"``), as a HoloViews ``cmap`` wants them."""
    return {look.word: look.colour(theme) for look in looks.values()}


def markers(looks: Mapping[str, Look]) -> dict[str, str]:
    """Bokeh markers by word."""
    return {look.word: look.marker for look in looks.values()}
