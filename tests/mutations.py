"""Planted bugs: one-line mutations of the resilience code, each of which the crash suite must catch.

``python tests/mutations.py`` applies each to a copy of the package, runs the suite's seeds on it until one fails,
and prints a table. It ends with 1 if a mutation goes unseen.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CASES = 600

_RUN = """
import sys
from hustle_sim.simulation.cases import Case
from hustle_sim.simulation.trials import run_case
for seed in range(int(sys.argv[1])):
    try:
        found = run_case(Case.draw(seed)).violations
    except Exception as error:
        found = [repr(error)]
    if found:
        print(f"seed {seed}: {found[0]}")
        sys.exit(1)
"""


class Mutation(NamedTuple):
    """In ``file`` of the resilience room ``old`` becomes ``new``; ``why`` says which bug that is."""

    why: str
    file: str
    old: str
    new: str


MUTATIONS = (
    Mutation(
        "acknowledge before sending",
        "queue.py",
        "            response = await self._send(item) if known is None else Response(Outcome.OK, known)\n",
        "            await self._answered(item.id, f'Reply to {item.id}')\n"
        "            response = await self._send(item) if known is None else Response(Outcome.OK, known)\n",
    ),
    Mutation(
        "forget to persist the lease",
        "store.py",
        "        return None if claimed is None else self._put(claimed)\n",
        "        return claimed\n",
    ),
    Mutation(
        "drop on overflow",
        "store.py",
        '            if overflow == "drop-oldest":\n',
        "            if victim is not None:\n",
    ),
    Mutation(
        "displace a message of equal priority",
        "store.py",
        "        return lowest if lowest.priority > priority else None\n",
        "        return lowest\n",
    ),
    Mutation(
        "settle without storing",
        "store.py",
        '        self._put(replace(item, state=state, reason=reason, reply=reply, owner=""))\n',
        "",
    ),
    Mutation(
        "settle without the answer",
        "store.py",
        'reason=reason, reply=reply, owner=""))\n',
        'reason=reason, owner=""))\n',
    ),
    Mutation(
        "no check who holds a lease",
        "store.py",
        "item.state is ItemState.LEASED and item.owner == owner else None\n",
        "item.state is ItemState.LEASED else None\n",
    ),
    Mutation(
        "no order within a conversation",
        "store.py",
        '        return item.conversation != "" and any(\n            other.conversation == item.conversation and',
        '        return item.conversation == "" and any(\n            other.conversation == item.conversation and',
    ),
    Mutation(
        "a new message overtakes those of its conversation that wait",
        "coach.py",
        "        if message.conversation and await self.queue.has_pending(message.conversation):\n",
        "        if False:\n",
    ),
    Mutation(
        "the retry budget is never spent",
        "retry.py",
        "        self._tokens -= 1\n",
        "",
    ),
    Mutation(
        "tell a depth that never falls",
        "queue.py",
        "            self._depth = await self._store.depth() + depth_change\n",
        "            self._depth = max(self._depth, await self._store.depth() + depth_change)\n",
    ),
    Mutation(
        "forget dead letters",
        "store.py",
        "FORGETTABLE = (ItemState.DELIVERED, ItemState.EXPIRED, ItemState.CANCELLED)\n",
        "FORGETTABLE = ENDED\n",
    ),
    Mutation(
        "believe the wall clock on a lease of our own",
        "queue.py",
        "            if began_s < self._leases.get(item.id, 0.0):\n",
        "            if False:\n",
    ),
    Mutation(
        "release without returning to ready",
        "store.py",
        "                state=ItemState.READY,\n                not_before=not_before,\n",
        "                leased_until=float('inf'),\n                not_before=not_before,\n",
    ),
    Mutation(
        "a lease that never runs out",
        "store.py",
        "    return item.leased_until if item.state is ItemState.LEASED else item.not_before\n",
        "    return float('inf') if item.state is ItemState.LEASED else item.not_before\n",
    ),
    Mutation(
        "a lease that is over at once",
        "queue.py",
        "owner=self._owner, until=now + self._policy.lease_s)\n",
        "owner=self._owner, until=now)\n",
    ),
    Mutation(
        "expire what is being sent",
        "store.py",
        "            if item.state is ItemState.LEASED and item.leased_until > now:\n",
        "            if False:\n",
    ),
    Mutation(
        "save a message in flight as ready",
        "queue.py",
        "            state=ItemState.LEASED if leased else end or ItemState.READY,\n",
        "            state=ItemState.READY,\n",
    ),
    Mutation(
        "skip saving before the deadline",
        "coach.py",
        "        if message.saving is None:\n            in_flight_s =",
        "        if False:\n            in_flight_s =",
    ),
    Mutation(
        "say that it is saved before it is",
        "coach.py",
        'self._answered(message, self._fallback_for(message), "fallback", queued=message.saved)',
        'self._answered(message, self._fallback_for(message), "fallback", queued=True)',
    ),
    Mutation(
        "replay with a new key",
        "coach.py",
        "self._backend.chat(text, key=message_id)",
        'self._backend.chat(text, key=f"{message_id}{number}")',
    ),
    Mutation(
        "a leased message has no timer",
        "queue.py",
        "        # A leased one too: should it never be settled, its lease has to run out on our timer.\n"
        "        self._wake_for_any()\n",
        "        if not leased:\n            self._wake_for_any()\n",
    ),
    Mutation(
        "forget an answer that could not be stored",
        "queue.py",
        "            self._unsettled[message_id] = reply\n",
        "",
    ),
    Mutation(
        "forget what an outage leaves to do",
        "queue.py",
        "                self._halt(asyncio.get_running_loop().time())\n",
        "                return\n",
    ),
    Mutation(
        "an open breaker never tries",
        "breaker.py",
        "            if now_s < self._open_until_s:\n                return None\n",
        "            return None\n",
    ),
    Mutation(
        "ignore the epoch of a result",
        "breaker.py",
        "if was_ended or permit.epoch != self._epoch or not self._policy.enabled:",
        "if was_ended or not self._policy.enabled:",
    ),
    Mutation(
        "never end a trial call",
        "breaker.py",
        "        if permit in self._trials:\n            self._trials.remove(permit)\n",
        "        permit.expires_s = float('inf')\n",
    ),
    Mutation(
        "half-open admits everyone",
        "breaker.py",
        "        if len(self._trials) >= self._policy.half_open_probes:\n            return None\n",
        "",
    ),
    Mutation(
        "an open breaker lets everything through",
        "breaker.py",
        "            if now_s < self._open_until_s:\n                return None\n",
        "            if now_s < self._open_until_s:\n                return Permit(self._epoch, None)\n",
    ),
)


def apply(mutation: Mutation, folder: Path) -> None:
    """Put a mutated copy of the package into ``folder``."""
    shutil.copytree(ROOT / "hustle_sim", folder / "hustle_sim", ignore=shutil.ignore_patterns("__pycache__"))
    target = folder / "hustle_sim" / "resilience" / mutation.file
    text = target.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.why}: its old text is {text.count(mutation.old)} times in {mutation.file}")
    target.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


def caught_by(mutation: Mutation, cases: int = CASES) -> str | None:
    """What the suite says of the mutated package; None if it sees nothing."""
    with tempfile.TemporaryDirectory() as name:
        apply(mutation, Path(name))
        environment = {**os.environ, "PYTHONPATH": name, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", _RUN, str(cases)], env=environment, cwd=name, capture_output=True, text=True
        )
    return None if done.returncode == 0 else (done.stdout.strip() or done.stderr.strip()[-300:])


def main() -> int:
    """Try all mutations, or those whose name has one of the words given."""
    words = sys.argv[1:]
    unseen = 0
    for mutation in MUTATIONS:
        if words and not any(word in mutation.why for word in words):
            continue
        found = caught_by(mutation)
        unseen += found is None
        print(f"{mutation.file:11} {mutation.why:45} {'NOT CAUGHT' if found is None else found[:140]}", flush=True)
    print(f"{unseen} not caught")
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
