"""``hustle-sim queue``: what people do with the queue's file, and a sentence for all that can't be done."""

import asyncio
import io
import json
import os
import sqlite3

import pytest

from hustle_sim.cli import main
from hustle_sim.inputs import InputError
from hustle_sim.live import default_store_path, open_store
from hustle_sim.live.settings import wall_time
from hustle_sim.live.store import find, iso, short_ids, shorten
from hustle_sim.resilience import Item, ItemState, SQLiteStore

LONG = "What is a closure, and why would anybody want one? " * 5


pytestmark = pytest.mark.real


@pytest.fixture
def hustle(capsys, monkeypatch, tmp_path):
    """Run the command line with a queue of its own; returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("HUSTLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("HUSTLE_STORE", str(tmp_path / "queue.sqlite3"))

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main(["queue", *arguments])
        captured = capsys.readouterr()
        return left.value.code or 0, captured.out, captured.err

    return run


def filled(path=None):
    """One item of each of some states, by the id ``<state>-0001``."""

    async def fill():
        store = open_store(path)
        now = wall_time()
        for state in (ItemState.READY, ItemState.DEAD, ItemState.DELIVERED, ItemState.UNKNOWN):
            item = Item(f"{state.value}-0001", f"{state.value}: {LONG}", 1, now - 60, now + 3600, state=state, tries=2)
            await store.add(item, max_size=50, overflow="reject")
        await store.aclose()

    asyncio.run(fill())


def states(path=None):
    async def look():
        store = open_store(path)
        try:
            return {item.id: item.state.value for item in await store.items()}
        finally:
            await store.aclose()

    return asyncio.run(look())


def test_an_empty_queue_says_so_and_makes_no_file(hustle, tmp_path):
    code, out, _ = hustle("list")
    assert (code, out) == (0, "The queue is empty: no message waits, and none was given up.\n")
    assert json.loads(hustle("export")[1]) == []
    assert hustle("retry", "--all-dead")[1] == "There is nothing to send again.\n"
    assert list(tmp_path.iterdir()) == []


def test_the_list_is_short_and_show_is_whole(hustle):
    filled()
    code, out, err = hustle("list")
    assert code == 0
    assert "dead-000" in out
    assert LONG not in out
    assert "1 ready, 1 dead" in err
    assert LONG in hustle("show", "dead-0001")[1]
    assert "dead-0001" not in hustle("list", "--state", "ready")[1]
    assert "None of the 4 messages in the queue is expired" in hustle("list", "--state", "expired")[1]
    assert [item["id"] for item in json.loads(hustle("list", "--state", "dead", "--json")[1])] == ["dead-0001"]


def test_messages_are_retried_cancelled_and_deleted(hustle):
    filled()
    assert "1 message will be sent again" in hustle("retry", "--all-dead")[1]
    assert hustle("cancel", "ready")[1] == "Cancelled 1 message.\n"
    assert hustle("retry", "unknown-0001")[0] == 0
    assert hustle("delete", "delivered-0001", "--yes")[1] == "Deleted 1 message.\n"
    assert states() == {"ready-0001": "cancelled", "dead-0001": "ready", "unknown-0001": "ready"}


def test_delete_asks_and_without_a_yes_nothing_is_deleted(hustle, monkeypatch):
    filled()
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, out, _ = hustle("delete", "dead-0001")
    assert (code, out.strip()) == (0, "Nothing was deleted.")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, _, err = hustle("delete", "dead-0001")
    assert code == 2
    assert "add --yes" in err
    assert "dead-0001" in states()


def test_export_writes_everything_with_times_in_utc(hustle, tmp_path):
    filled()
    assert hustle("export", "out.json")[0] == 0
    items = json.loads((tmp_path / "out.json").read_text())
    assert len(items) == 4
    assert items[1]["text"] == f"dead: {LONG}"
    assert items[1]["created_at"].endswith("Z")
    assert items[1]["leased_until"] is None
    code, _, err = hustle("export", "out.json")
    assert code == 2
    assert "add --force" in err
    assert hustle("export", "out.json", "--force")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "ded-0001"], "did you mean 'dead-0001'?"),
        (["show", "nonsense"], "no message in the queue has this id"),
        (["delete", "ready-0001", "--yes"], "ready-0001 is ready and can't be deleted"),
        (["cancel", "dead-0001"], "dead-0001 is dead and can't be cancelled"),
        (["retry", "delivered-0001"], "delivered-0001 is delivered and can't be sent again"),
        (["retry"], "name the messages by their ids, or give --all-dead"),
        (["retry", "dead-0001", "--all-dead"], "and not both"),
        (["show", "de"], "no message in the queue has this id"),
        (["list", "--state", "ded"], "did you mean 'dead'?"),
        (["list", "--store", "nowhere.sqlite3"], "nowhere.sqlite3: no such file"),
        (["list", "--store", "."], ". is a folder"),
        (["export", "no/such/folder.json"], "can't be written"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_sentence(hustle, arguments, words):
    filled()
    before = states()
    code, out, err = hustle(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert words in err
    assert states() == before


def test_a_file_of_somebody_else_is_left_as_it_is(hustle, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("not a queue at all")
    assert "is not a queue's file" in hustle("list", "--store", "notes.txt")[2]
    database = sqlite3.connect(tmp_path / "other.db")
    database.execute("CREATE TABLE mine (a)")
    database.close()
    assert "a database of something else" in hustle("list", "--store", "other.db")[2]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["notes.txt", "other.db"]


def test_a_damaged_file_is_told_of_and_the_rest_goes_on(hustle, tmp_path):
    (tmp_path / "queue.sqlite3").write_bytes(b"SQLite format 3\x00" + b"rubbish" * 2000)
    code, out, err = hustle("list")
    assert code == 0
    assert "The queue is empty" in out
    assert "was damaged and has been set aside" in err


def test_another_process_that_keeps_the_file_is_a_sentence(hustle, tmp_path, monkeypatch):
    filled()
    monkeypatch.setattr("hustle_sim.live.store.open_store", lambda path: SQLiteStore(path, busy_timeout_s=0.05))
    other = sqlite3.connect(tmp_path / "queue.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    code, _, err = hustle("retry", "--all-dead")
    other.close()
    assert code == 2
    assert "another process keeps the file locked" in err


def test_the_usual_place_is_of_the_user_unless_the_environment_names_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HUSTLE_STORE", raising=False)
    monkeypatch.delenv("HUSTLE_BACKEND_URL", raising=False)
    usual = default_store_path()
    assert usual.is_absolute()
    assert (usual.parent.name, usual.name) == ("hustle_sim", "queue.sqlite3")
    monkeypatch.setenv("HUSTLE_STORE", "~/mine.sqlite3")
    assert default_store_path().name == "mine.sqlite3"
    assert "~" not in str(default_store_path())


def items(*ids):
    return [Item(each, "hi", 1, 0.0, 1.0) for each in ids]


def test_ids_are_as_short_as_they_can_be_and_found_again():
    some = items("aaaaaaaaaa1", "aaaaaaaaaa2", "b" * 32)
    short = short_ids(some)
    assert list(short.values()) == ["aaaaaaaaaa1", "aaaaaaaaaa2", "bbbbbbbb"]
    assert [find(some, short[item.id]) for item in some] == some
    with pytest.raises(InputError, match="2 messages begin like this"):
        find(some, "aaaa")
    with pytest.raises(InputError, match="did you mean 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'"):
        find(some, "bbbbbbcb")


def test_text_for_a_terminal_is_one_line_and_steers_nothing():
    assert shorten("a\n b\x1b[2J  c") == "a b\N{REPLACEMENT CHARACTER}[2J c"
    assert len(shorten("x" * 500)) == 60
    assert iso(0.0) is None
    assert iso(float("inf")) is None
    assert iso(1.5) == "1970-01-01T00:00:01.500000Z"
