"""What the people of a simulation said: not kept in a run, but drawn again from its scenario and seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hustle_sim.simulation.randomness import Draws
from hustle_sim.simulation.scenario import Scenario

if TYPE_CHECKING:
    from hustle_sim.analysis import Run


def texts_of(run: Run) -> dict[str, str]:
    """The text of each message of a simulated run, by its id; empty for a live session, whose words are not kept."""
    if run.seed is None or not run.backend_truth or not run.scenario:
        return {}
    clients, draws = Scenario.from_dict(run.scenario).clients, Draws(run.seed)
    texts: dict[str, str] = {}
    spoken: dict[int, int] = {}
    # A client's messages are numbered in the order of sending, which is that of the frame.
    for message_id, client in zip(run.messages["message_id"].tolist(), run.messages["client"].tolist(), strict=True):
        number = spoken.get(client, 0)
        spoken[client] = number + 1
        texts[message_id] = question(clients.question(draws, client, number))
    return texts


def question(number: int) -> str:
    """The words of a question by its number."""
    return f"Question {number}"
