"""What a place of the dashboard is, and how it and the frame speak with each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable
from urllib.parse import parse_qsl, urlencode

Arguments: TypeAlias = Mapping[str, Any]
"""What a visitor brings along: text from an address, or whatever another place hands over."""


class View(Protocol):
    """A place as one visitor sees it: something that Panel can show, and that knows whether it is seen."""

    def seen(self, visible: bool) -> None:
        """The visitor came here, or went elsewhere."""

    def close(self) -> None:
        """The visitor is gone: end what runs for them."""


@runtime_checkable
class Receiving(Protocol):
    """A place that can be told what to show after it was built."""

    def arrive(self, arguments: Arguments) -> None:
        """Another place sent the visitor here with ``arguments``, or they went back to an address that holds them.

        Bad ones are a sentence on the place's own notice, as in an address that somebody typed.
        """


class Frame(Protocol):
    """What a place may ask of the dashboard around it."""

    @property
    def page(self) -> Any:
        """The page; ``page.dark_theme`` says which theme it has."""

    def open(self, place: str, **arguments: Any) -> None:
        """Bring the visitor to another place; ``arguments`` are given to its ``arrive`` (or to its maker)."""

    def set_address(self, place: str, arguments: Mapping[str, str], *, step: bool = False) -> None:
        """Let the address say what ``place`` shows; ``step`` makes the back button return to what it said before."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place by its ``name`` in the address and its ``title`` in the menu.

    ``make`` builds it for a visitor at the first visit, from the frame and what they bring along.
    """

    name: str
    title: str
    make: Callable[[Frame, Arguments], View]


MOVED: Mapping[str, tuple[str, Mapping[str, str]]] = {"queue": ("live", {"tab": "queue"})}
"""Places that became a part of another one, with what leads to that part: old addresses still lead there."""


def read_address(search: str, places: Mapping[str, Place], default: str) -> tuple[str, dict[str, str]]:
    """The place and its arguments of the query part of an address; an unknown place is ``default``."""
    arguments = dict(parse_qsl(search.removeprefix("?"), keep_blank_values=True))
    place = arguments.pop("place", default)
    if place not in places and place in MOVED:
        place, part = MOVED[place]
        arguments |= part
    return (place if place in places else default), arguments


def write_address(place: str, arguments: Mapping[str, str]) -> str:
    """The query part of an address: ``"?place=live&url=..."``."""
    return "?" + urlencode({"place": place, **arguments})
