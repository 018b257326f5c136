"""Randomness that is keyed by what it is for, never by the order in which code happened to ask.

``draws.uniform("backend.latency", client, message, attempt)`` is a pure function of the seed, the stream's
name and the key. So two policies on one seed meet the same arrivals, the same outages and the same service
times (common random numbers), and a draw that one of them does not make moves none of the others.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from struct import Struct

_PACK = tuple(Struct(f"<{size}q").pack for size in range(9))
_UNPACK = Struct("<Q").unpack
_ULP = 2.0**-53


class Draws:
    """Uniform numbers of one seed (any int), by stream and key.

    A number is the first 53 bits of BLAKE2b over the key, eight bytes for each part, little-endian, with the seed
    as salt and the stream as personalisation: the same on every platform, in every process. Draws of one seed
    are equal, and pickle as their seed.
    """

    __slots__ = ("_streams", "seed")

    def __init__(self, seed: int) -> None:
        self.seed = int(seed)
        self._streams: dict[str, Callable[..., float]] = {}

    def uniform(self, stream: str, *key: int) -> float:
        """A number in [0, 1), always the same for the same seed, stream and key (up to eight 64-bit ints)."""
        draw = self._streams.get(stream)
        if draw is None:
            draw = self._streams[stream] = self.stream(stream)
        return draw(*key)

    def stream(self, name: str) -> Callable[..., float]:
        """``uniform`` of one stream, without the look-up: ``draw(*key)`` equals ``uniform(name, *key)``."""
        # Salt and personalisation are part of BLAKE2's first state, so a draw costs one block and one copy.
        prepared = blake2b(digest_size=8, salt=_digest(str(self.seed)), person=_digest(name)).copy

        def draw(*key: int) -> float:
            hasher = prepared()
            hasher.update(_PACK[len(key)](*key))
            bits: int = _UNPACK(hasher.digest())[0]
            return (bits >> 11) * _ULP

        return draw

    def __eq__(self, other: object) -> bool:
        return self.seed == other.seed if isinstance(other, Draws) else NotImplemented

    def __hash__(self) -> int:
        return hash((Draws, self.seed))

    def __reduce__(self) -> tuple[type[Draws], tuple[int]]:
        return Draws, (self.seed,)

    def __repr__(self) -> str:
        return f"Draws({self.seed})"


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()
