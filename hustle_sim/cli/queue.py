"""``hustle-sim queue``: look into the queue's file, and retry, cancel, delete or export what is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hustle_sim.inputs import InputError, format_duration

if TYPE_CHECKING:
    from hustle_sim.resilience import Item, ItemState, SQLiteStore

queue_app = typer.Typer(
    help="Look into the queue of messages, and put it in order.", no_args_is_help=True, rich_markup_mode=None
)

_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="The queue's file; default: HUSTLE_STORE, or the one of this user.", metavar="FILE"),
]
IdsArgument = Annotated[list[str], typer.Argument(help="Ids of messages, or how they begin.", metavar="ID...")]
IdArgument = Annotated[str, typer.Argument(help="The id of a message, or how it begins.", metavar="ID")]
StateOption = Annotated[
    list[str] | None,
    typer.Option("--state", help="Only this state: dead, ready, ... Repeatable.", metavar="STATE"),
]


@queue_app.command("list")
def queue_list(
    state: StateOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything, as a JSON array.")] = False,
    store: StoreOption = None,
) -> None:
    """List the messages: all, or those in a state (ready, leased, unknown, delivered, expired, dead, cancelled)."""
    from hustle_sim.live.store import export_json, short_ids

    states = _states(state)
    everything = _items(store)
    items = [item for item in everything if item.state in states]
    if as_json:
        typer.echo(export_json(items), nl=False)
    elif not everything:
        _say(_EMPTY)
    elif not items:
        _say(f"None of the {_count(everything)} in the queue is {' or '.join(each.value for each in states)}.")
    else:
        _print_list(items, short_ids(everything))


@queue_app.command("show")
def queue_show(item_id: IdArgument, store: StoreOption = None) -> None:
    """Show one message: the whole text, the reply, and all that happened to it."""
    from hustle_sim.live.store import clean, find, record

    item = find(_items(store), item_id)
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in record(item).items():
        if name not in ("text", "reply", "rank", "sequence") and value not in (None, ""):
            table.add_row(Text(name), Text(clean(str(value).lower() if isinstance(value, bool) else str(value))))
    _out.print(table)
    for name, text in (("Text", item.text), ("Reply", item.reply)):
        if text:
            _say(f"\n{name}:\n{clean(text)}")


@queue_app.command("retry")
def queue_retry(
    item_ids: Annotated[
        list[str] | None, typer.Argument(help="Ids of messages, or how they begin.", metavar="ID...")
    ] = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="Every message that was given up.")] = False,
    store: StoreOption = None,
) -> None:
    """Send messages again that are dead, expired or cancelled, or whose fate is unknown."""
    from hustle_sim.live.settings import wall_time
    from hustle_sim.live.store import RETRYABLE
    from hustle_sim.policy import Policy
    from hustle_sim.resilience import ItemState

    if all_dead == bool(item_ids):
        raise InputError("queue retry: name the messages by their ids, or give --all-dead (and not both)")
    ttl_s = Policy.from_environment().queue.ttl_s

    async def work(found: SQLiteStore, items: list[Item]) -> list[Item]:
        if all_dead:
            chosen = [item for item in items if item.state is ItemState.DEAD]
        else:
            chosen = _chosen(items, item_ids or [], RETRYABLE, "be sent again")
        now = wall_time()
        return [item for item in chosen if await found.requeue(item.id, now, now + ttl_s)]

    done = _with_store(store, work, [] if all_dead else None)
    if not done:
        _say("There is nothing to send again.")
    else:
        _say(f"{_count(done)} will be sent again, when an app with this queue next looks into it.")


@queue_app.command("cancel")
def queue_cancel(item_ids: IdsArgument, store: StoreOption = None) -> None:
    """Call messages off that wait, or whose fate is unknown."""
    from hustle_sim.live.store import CANCELLABLE

    async def work(found: SQLiteStore, items: list[Item]) -> list[Item]:
        chosen = _chosen(items, item_ids, CANCELLABLE, "be cancelled")
        return [item for item in chosen if await found.cancel(item.id, "by hand")]

    _say(f"Cancelled {_count(_with_store(store, work))}.")


@queue_app.command("delete")
def queue_delete(
    item_ids: IdsArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    store: StoreOption = None,
) -> None:
    """Forget messages that have ended, for ever. Asks first."""
    from hustle_sim.live.store import DELETABLE

    chosen = _chosen(_items(store), item_ids, DELETABLE, "be deleted")
    if not yes:
        try:
            agreed = typer.confirm(f"Delete {_count(chosen)} for ever?", err=True)
        except typer.Abort:
            raise InputError("nothing was deleted, since nobody said yes: add --yes") from None
        if not agreed:
            _say("Nothing was deleted.")
            return

    async def work(found: SQLiteStore, items: list[Item]) -> list[Item]:
        return [item for item in chosen if await found.delete(item.id)]

    _say(f"Deleted {_count(_with_store(store, work))}.")


@queue_app.command("export")
def queue_export(
    file: Annotated[str, typer.Argument(help="The file to write; -: standard output.", metavar="[FILE|-]")] = "-",
    state: StateOption = None,
    force: Annotated[bool, typer.Option(help="Overwrite the file if it is there.")] = False,
    store: StoreOption = None,
) -> None:
    """Write the messages as a JSON array, with times as ISO 8601 in UTC."""
    from hustle_sim.live.store import export_json

    states = _states(state)
    items = [item for item in _items(store) if item.state in states]
    if file == "-":
        typer.echo(export_json(items), nl=False)
        return
    try:
        with open(file, "w" if force else "x", encoding="utf-8") as target:
            target.write(export_json(items))
    except FileExistsError:
        raise InputError(f"{file} is there already: name another file, or add --force to overwrite it") from None
    except OSError as error:
        raise InputError(f"{file} can't be written: {error.strerror}") from None
    _err.print(f"Wrote {_count(items)} to {file}.", markup=False, soft_wrap=True)


_EMPTY = "The queue is empty: no message waits, and none was given up."


def _items(store: Path | None) -> list[Item]:
    async def work(_: SQLiteStore, items: list[Item]) -> list[Item]:
        return items

    return _with_store(store, work, [])


def _with_store(
    store: Path | None, work: Callable[[SQLiteStore, list[Item]], Awaitable[list[Item]]], none: list[Item] | None = None
) -> list[Item]:
    """Do something with the store and its items. Where the usual file is not there yet, the result is ``none``.

    Raises InputError with one sentence, also for what the store could not do.
    """
    from hustle_sim.live.store import check_store_file, default_store_path, open_store
    from hustle_sim.resilience import StoreError

    path = default_store_path() if store is None else store
    if store is None and none is not None and not path.exists():
        return none
    check_store_file(path)

    async def main() -> list[Item]:
        found = open_store(path)
        try:
            return await work(found, await found.items())
        finally:
            await found.aclose()
            if found.notice:
                _err.print(f"hustle-sim: {found.notice}", markup=False, soft_wrap=True)

    try:
        return asyncio.run(main())
    except StoreError as error:
        raise InputError(str(error)) from None


def _states(names: Sequence[str] | None) -> list[ItemState]:
    from hustle_sim.inputs import closest
    from hustle_sim.resilience import ItemState

    known = {state.value: state for state in ItemState}
    for name in names or ():
        if name not in known:
            hint = closest(name, known)
            raise InputError(f"--state {name}: the states are {', '.join(known)}{hint if hint != '.' else ''}")
    return [known[name] for name in names or known]


def _chosen(items: list[Item], names: Sequence[str], allowed: Sequence[ItemState], what: str) -> list[Item]:
    """The items that are named, each once; InputError if one of them is in a state in which it can't ``what``."""
    from hustle_sim.live.store import find

    chosen = list(dict.fromkeys(find(items, name) for name in names))
    for item in chosen:
        if item.state not in allowed:
            raise InputError(
                f"{item.id} is {item.state.value} and can't {what}; only messages that are "
                f"{', '.join(state.value for state in allowed[:-1])} or {allowed[-1].value} can"
            )
    return chosen


def _print_list(items: list[Item], ids: dict[str, str]) -> None:
    from hustle_sim.live.settings import wall_time
    from hustle_sim.live.store import clean, shorten

    now = wall_time()
    # The text takes what the others leave, on a narrow terminal too.
    table = Table(box=None, pad_edge=False, expand=True)
    for title, justify in (("Id", "left"), ("State", "left"), ("Prio", "right"), ("Age", "right"), ("Tries", "right")):
        table.add_column(title, justify="right" if justify == "right" else "left", no_wrap=True)
    table.add_column("Reason", overflow="fold")
    table.add_column("Text", no_wrap=True, overflow="ellipsis", ratio=1)
    for item in items:
        age = format_duration(float(round(max(now - item.created_at, 0.0))))
        cells = (ids[item.id], item.state.value, str(item.priority), age, str(item.tries), clean(item.reason))
        table.add_row(*(Text(cell) for cell in cells), Text(shorten(item.text)))
    _out.print(table)
    numbers = {state: sum(item.state is state for item in items) for state in {item.state: None for item in items}}
    _err.print(", ".join(f"{number:,} {state.value}" for state, number in numbers.items()) + ".", markup=False)


def _count(items: Sequence[object]) -> str:
    return f"{len(items):,} message{'' if len(items) == 1 else 's'}"


def _say(words: str) -> None:
    _out.print(words, markup=False, soft_wrap=True)
