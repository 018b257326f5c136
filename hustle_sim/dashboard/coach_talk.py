"""One conversation over one live session: sends, cancels and sends again, and hears of what comes late.

Nothing here waits: answers arrive in the session's thread and are put into the conversation, which a page draws.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import TypeVar

from hustle_sim.dashboard.coach_state import IN_QUEUE, Conversation
from hustle_sim.live.session import LiveSession
from hustle_sim.resilience.coach import Reply
from hustle_sim.resilience.store import Item, ItemState, StoreError

logger = logging.getLogger("hustle_sim.dashboard")

T = TypeVar("T")

LOOK_EVERY_S = 5.0
"""What waits in the queue is looked up this often, and whenever the session has news: another process may send it."""


class Talk:
    """A visitor's end of a session, until ``close()``. ``now()`` gives POSIX seconds."""

    def __init__(
        self, session: LiveSession, conversation: Conversation, visitor: str, now: Callable[[], float]
    ) -> None:
        self.session = session
        self.conversation = conversation
        self._visitor = visitor
        self._now = now
        self._seen_version = -1
        self._looked_at = 0.0
        self._looking: Future[list[Item]] | None = None
        self._unsubscribe = session.subscribe_deliveries(
            lambda delivery: conversation.delivered(delivery, now()), conversation=visitor
        )
        self._ask(
            lambda: session.items(conversation=visitor), lambda items: conversation.recall(items, now()), "recalled"
        )

    def close(self) -> None:
        """Listen no more. What was sent goes on, and is found again by the next one."""
        self._unsubscribe()

    def send(self, text: str) -> None:
        """Send a new message."""
        message_id = self.session.world.new_id()
        self.conversation.ask(message_id, text, self._now(), self.session.policy.request.deadline_s)
        self._call(message_id, text)

    def cancel(self, key: str) -> None:
        """Call a message off, wherever it is: before its answer, or in the queue."""
        entry = self.conversation.entry(key)
        if entry is None:
            return
        calling = self.conversation.calling.get(entry.message_id)
        if entry.fate == "waiting" and calling is not None:
            calling.cancel()
        elif entry.fate in IN_QUEUE:
            self._cancel_in_queue(entry.message_id)

    def again(self, key: str) -> None:
        """Send a message again that was given up or called off, in its place."""
        entry = self.conversation.entry(key)
        if entry is None or entry.fate in ("waiting", "done", "ready", "sending"):
            return

        def resend(was_kept: bool) -> None:
            if was_kept:
                self.conversation.settled(entry.message_id, "ready")
                return
            message_id = self.session.world.new_id()
            self.conversation.ask_again(key, message_id, self._now(), self.session.policy.request.deadline_s)
            self._call(message_id, entry.question)

        if entry.fate in ("unsaved", "withdrawn"):
            resend(False)
        else:
            # Under its old id, so that a backend that has processed it before knows it again.
            self._ask(lambda: self.session.retry(entry.message_id), resend, "sent again")

    def look(self) -> None:
        """Look up what waits in the queue, if there may be news of it. Returns at once."""
        now, version = self._now(), self.session.version
        if self._looking is not None and not self._looking.done():
            return
        if version == self._seen_version and now - self._looked_at < LOOK_EVERY_S:
            return
        asked = self.conversation.to_look_up(now)
        if asked:
            self._seen_version, self._looked_at = version, now
            self._looking = self._ask(
                lambda: self.session.find(*asked), lambda items: self._found(asked, items), "looked up"
            )

    def _found(self, asked: list[str], items: list[Item]) -> None:
        for item in items:
            if item.state in (ItemState.READY, ItemState.UNKNOWN) and self.conversation.is_called_off(item.id):
                # It was called off while it was being saved, or sent.
                self._cancel_in_queue(item.id)
        self.conversation.found(asked, items, self._now())

    def _cancel_in_queue(self, message_id: str) -> None:
        def settle(done: bool) -> None:
            if done:
                self.conversation.settled(message_id, "cancelled")
            else:
                self.conversation.call_off(message_id)
                self._seen_version = -1

        self._ask(lambda: self.session.cancel(message_id), settle, "called off")

    def _call(self, message_id: str, text: str) -> None:
        try:
            calling = self.session.send(text, conversation=self._visitor, message_id=message_id)
        except RuntimeError as error:
            self.conversation.failed(message_id, str(error), self._now())
            return
        self.conversation.calling[message_id] = calling
        calling.add_done_callback(lambda done: self._answered(message_id, done))

    def _answered(self, message_id: str, done: Future[Reply]) -> None:
        self.conversation.calling.pop(message_id, None)
        try:
            self.conversation.replied(done.result(), self._now())
        except CancelledError:
            self.conversation.withdrawn(message_id, self._now())
        except RuntimeError as error:
            self.conversation.failed(message_id, str(error), self._now())
        except Exception as error:
            logger.exception("A message of the chat has failed by a fault of our own.")
            self.conversation.failed(message_id, type(error).__name__, self._now())

    def _ask(self, ask: Callable[[], Future[T]], use: Callable[[T], None], what: str) -> Future[T] | None:
        """Use what the queue answers, when it does; a queue that can't answer is asked again later."""

        def use_it(done: Future[T]) -> None:
            try:
                use(done.result())
            except (CancelledError, StoreError, RuntimeError) as error:
                logger.warning("Messages could not be %s: %s", what, error)
            except Exception:
                logger.exception("Messages could not be %s, by a fault of our own.", what)

        try:
            future = ask()
        except RuntimeError:
            return None
        future.add_done_callback(use_it)
        return future
