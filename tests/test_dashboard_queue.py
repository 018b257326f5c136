"""The queue's place in the dashboard, without a browser: what it shows, what it allows, and that nothing breaks it."""

import asyncio
import json

import pytest

from hustle_sim.dashboard.app import PLACES
from hustle_sim.dashboard.places import read_address
from hustle_sim.dashboard.queue_state import EMPTY, LOOKS, SHOWN, QueueFile, Snapshot, allowed, chips, details, rows
from hustle_sim.dashboard.queue_view import QueueView
from hustle_sim.live.settings import wall_time
from hustle_sim.resilience import Item, ItemState, SQLiteStore

pytestmark = pytest.mark.real

NOW = 1_800_000_000.0


def item(state, number=1, text="What is a closure?", **more):
    return Item(f"{state.value}-{number}", text, 1, NOW - 90, NOW + 3600, state=state, tries=2, **more)


def snapshot(*items):
    return Snapshot(items=items, counts={state: sum(each.state is state for each in items) for state in ItemState})


async def fill(path, *items):
    store = SQLiteStore(path)
    for each in items:
        await store.add(each, max_size=1000, overflow="reject")
    await store.aclose()


def test_every_state_has_a_glyph_and_a_word_of_its_own():
    assert list(LOOKS) == list(ItemState)
    assert len({glyph for glyph, _ in LOOKS.values()}) == len({word for _, word in LOOKS.values()}) == len(ItemState)
    places = {place.name: place for place in PLACES}
    assert read_address("?place=queue", places, "simulate") == ("live", {"tab": "queue"})


def test_rows_are_short_and_in_words_and_chips_count_them():
    seen = snapshot(item(ItemState.DEAD, reason="overloaded", text="x " * 500), item(ItemState.READY))
    first, _ = rows(seen, "", NOW)
    assert (first["glyph"], first["word"], first["age"], first["attempts"]) == ("◆", "dead", "1 min 30 s", "2")
    assert len(first["text"]) <= 90
    assert [row["id"] for row in rows(seen, "ready", NOW)] == ["ready-1"]
    assert [(words, number) for _, _, words, number in chips(seen)] == [("all", 2), ("ready", 1), ("dead", 1)]
    assert len(rows(snapshot(*(item(ItemState.DEAD, n) for n in range(SHOWN + 5))), "", NOW)) == SHOWN


def test_details_have_everything_and_are_escaped():
    html = details(item(ItemState.DEAD, reason="timeout", text="<b>hi</b>", reply="<i>ho", uncertain=True), NOW)
    assert "&lt;b&gt;hi&lt;/b&gt;" in html
    assert "&lt;i&gt;ho" in html
    assert "dead (timed out)" in html
    assert "may have been processed" in html
    assert details(Item("a", "hi", 1, 0.0, float("inf")), NOW)


@pytest.mark.parametrize(
    ("states", "what"),
    [
        ([], set()),
        ([ItemState.READY], {"cancel"}),
        ([ItemState.LEASED], set()),
        ([ItemState.UNKNOWN], {"retry", "cancel"}),
        ([ItemState.DELIVERED], {"delete"}),
        ([ItemState.DEAD, ItemState.EXPIRED], {"retry", "delete"}),
        ([ItemState.DEAD, ItemState.READY], set()),
    ],
)
def test_what_is_allowed_follows_from_the_states_of_all_that_is_selected(states, what):
    may = allowed([item(state, number) for number, state in enumerate(states)])
    assert {name for name, yes in may.items() if yes} == what


def test_a_file_that_is_not_there_is_an_empty_queue_and_is_not_made(tmp_path):
    async def main():
        page = QueueView(QueueFile(tmp_path / "none.sqlite3"))
        await page.refresh()
        assert EMPTY in page._empty._pane.object
        assert not page._list_box.visible
        assert page.export.disabled
        assert all(button.disabled for button in page.buttons.values())

    asyncio.run(main())
    assert list(tmp_path.iterdir()) == []


def test_messages_are_retried_cancelled_and_deleted_and_delete_asks(tmp_path):
    path = tmp_path / "queue.sqlite3"

    async def main():
        await fill(path, item(ItemState.READY), item(ItemState.DEAD), item(ItemState.DELIVERED, reply="a function"))
        page = QueueView(file := QueueFile(path))
        await page.refresh()
        assert [row["id"] for row in page.table.rows] == ["delivered-1", "dead-1", "ready-1"]

        page.table.selected = ["dead-1"]
        assert [name for name, button in page.buttons.items() if not button.disabled] == ["retry", "delete"]
        assert "dead" in page._details.object
        await page._on("retry")
        page.table.selected = ["ready-1"]
        await page._on("cancel")
        page.table.selected = ["delivered-1"]
        await page._on("delete")
        assert page.buttons["delete"].label == "Really delete 1?"
        assert [row["state"] for row in page.table.rows] == ["delivered", "ready", "cancelled"]
        page.table.selected = ["dead-1"]
        assert page.buttons["delete"].label == "Delete"
        page.table.selected = ["delivered-1"]
        await page._on("delete")
        await page._on("delete")
        assert [row["state"] for row in page.table.rows] == ["ready", "cancelled"]
        assert page.table.selected == []

        page.table.state = "cancelled"
        assert [row["id"] for row in page.table.rows] == ["ready-1"]
        assert [each["id"] for each in json.loads(page._exported())] == ["ready-1"]
        await file.aclose()

    asyncio.run(main())


def test_what_another_process_did_is_seen_and_a_file_that_vanishes_is_an_empty_queue(tmp_path):
    path = tmp_path / "queue.sqlite3"

    async def main():
        await fill(path, item(ItemState.DEAD))
        file = QueueFile(path)
        first = await file.read()
        assert len(first.items) == 1
        assert await file.read() is first
        await fill(path, item(ItemState.READY))
        assert len((await file.read()).items) == 2
        for each in tmp_path.iterdir():
            each.unlink()
        assert (await file.read()).items == ()
        await fill(path, item(ItemState.EXPIRED))
        assert [each.id for each in (await file.read()).items] == ["expired-1"]
        await file.aclose()

    asyncio.run(main())


def test_a_message_that_changed_in_the_meantime_is_a_sentence(tmp_path):
    path = tmp_path / "queue.sqlite3"

    async def main():
        await fill(path, item(ItemState.READY))
        page = QueueView(file := QueueFile(path))
        await page.refresh()
        page.table.selected = ["ready-1"]
        other = SQLiteStore(path)
        await other.claim(wall_time() + 1e9, owner="app", until=wall_time() + 2e9)
        await other.aclose()
        await page._on("cancel")
        assert "0 of 1 cancelled; the others had changed" in page._notice._pane.object
        assert all(button.disabled for button in page.buttons.values())
        await file.aclose()

    asyncio.run(main())


def test_a_file_of_something_else_is_a_sentence_and_is_left_as_it_is(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a queue")
    page = QueueView(QueueFile(path))
    asyncio.run(page.refresh())
    assert "is not a queue&#x27;s file" in page._notice._pane.object
    assert path.read_text() == "not a queue"


def test_a_damaged_file_is_told_of(tmp_path):
    path = tmp_path / "queue.sqlite3"
    path.write_bytes(b"SQLite format 3\x00" + b"rubbish" * 2000)

    async def main():
        page = QueueView(file := QueueFile(path))
        await page.refresh()
        await page.refresh()
        assert "set aside" in page._damage._pane.object
        await file.aclose()

    asyncio.run(main())
