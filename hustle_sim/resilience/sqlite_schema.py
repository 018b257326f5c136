"""The tables of the store's file, and what brings an older file to the schema of this version."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hustle_sim.resilience.store import StoreError

_SCHEMA = """
CREATE TABLE items (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    text TEXT NOT NULL,
    priority INTEGER NOT NULL,
    created_at REAL NOT NULL,
    expires_at REAL NOT NULL,
    rank REAL NOT NULL,
    conversation TEXT NOT NULL,
    state TEXT NOT NULL,
    not_before REAL NOT NULL,
    due INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    uncertain INTEGER NOT NULL,
    owner TEXT NOT NULL,
    leased_until REAL NOT NULL,
    reason TEXT NOT NULL,
    reply TEXT NOT NULL
);
CREATE INDEX items_due ON items (rank, sequence) WHERE due = 1;
CREATE INDEX items_later ON items (not_before) WHERE state = 'ready' AND due = 0;
CREATE INDEX items_leased ON items (leased_until) WHERE state = 'leased' AND due = 0;
CREATE INDEX items_end ON items (expires_at) WHERE state IN ('ready', 'leased', 'unknown');
CREATE INDEX items_talk ON items (conversation, sequence)
    WHERE conversation <> '' AND state IN ('ready', 'leased', 'unknown');
CREATE TABLE tally (state TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE TRIGGER count_in AFTER INSERT ON items BEGIN
    INSERT INTO tally VALUES (new.state, 1) ON CONFLICT (state) DO UPDATE SET number = number + 1;
END;
CREATE TRIGGER count_out AFTER DELETE ON items BEGIN
    UPDATE tally SET number = number - 1 WHERE state = old.state;
END;
CREATE TRIGGER count_move AFTER UPDATE OF state ON items WHEN new.state <> old.state BEGIN
    UPDATE tally SET number = number - 1 WHERE state = old.state;
    INSERT INTO tally VALUES (new.state, 1) ON CONFLICT (state) DO UPDATE SET number = number + 1;
END;
CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL);
"""
_OLD_ITEMS = """
CREATE INDEX items_old ON items (expires_at) WHERE state IN ('delivered', 'expired', 'cancelled');
"""
MIGRATIONS = (_SCHEMA, _OLD_ITEMS)
"""What takes a file from each schema version (its place here) to the next; a new file has version 0."""


def migrate(database: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the schema of this version, in one transaction. Raises StoreError if it is a newer one's."""
    database.execute("BEGIN IMMEDIATE")
    try:
        version = int(database.execute("PRAGMA user_version").fetchone()[0])
        if version > len(MIGRATIONS):
            raise StoreError(
                f"{path} was written by a newer hustle_sim (schema {version}, this one knows "
                f"{len(MIGRATIONS)}): upgrade hustle_sim or name another file"
            )
        for migration in MIGRATIONS[version:]:
            for statement in _statements(migration):
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _statements(script: str) -> list[str]:
    """The statements of a script; those that hold others (triggers) end with a line of their own."""
    statements, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements
