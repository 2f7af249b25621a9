"""What must hold for every line of code: SQL takes values by parameters alone, and text leaves through one door."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "mastosync"
MODULES = [str(path.relative_to(ROOT)) for path in sorted(ROOT.rglob("*.py"))]
RUNS_SQL = {"execute", "executemany", "executescript"}

REVIEWED = {
    ("manifest/reader.py", "query"): "columns of our own, an index and counted placeholders",
    ("manifest/work_queue.py", "query"): "every caller hands in a constant, put into which are numbers of rows.py",
    ("manifest/entry_writer.py", "_COUNT_TO_TRY_AGAIN"): "put into it are numbers of rows.py",
    ("manifest/entry_writer.py", "_TRY_AGAIN"): "the same",
    ("manifest/entry_writer.py", "_DISBELIEVE"): "the same",
    ("manifest/entry_writer.py", "_MARK_LOST"): "the same",
    ("manifest/reader.py", "_COUNT_REMOVABLE"): "put into it are numbers of rows.py",
    ("manifest/reader.py", "_IS_ALIVE"): "put into it are numbers of rows.py",
    ("manifest/connection.py", "select"): "columns of our own, and counted placeholders",
    ("manifest/connection.py", "f'PRAGMA cache_size = -{kib}'"): "every caller hands in a number of its own",
    ("manifest/plan_merge.py", "query.format(**self._rows)"): "put into it are one of two conditions, and numbers",
    ("manifest/settings.py", "_MAY_BE_CONFIRMED"): "put into it are numbers of rows.py",
    ("manifest/reader.py", "_COUNT_EXPOSED"): "put into it are numbers of rows.py",
    (
        "manifest/reader.py",
        "select",
    ): "of modules beside it: numbers of rows.py, and columns of our own",
    ("manifest/temporary_database.py", "self._statement"): "a table and columns of our own, and counted placeholders",
    ("manifest/temporary_database.py", "self._text(len(self.waiting) // len(self._columns))"): "the same",
    ("manifest/schema.py", "statement"): "a migration of this package",
    ("manifest/schema.py", "f'PRAGMA user_version = {number}'"): "the number of one",
    ("manifest/archive.py", "insert"): "of our own table of tables: columns, and counted placeholders",
    (
        "manifest/archive.py",
        "f\"SELECT {', '.join(columns)} FROM {table} ORDER BY id\"",
    ): "of our own table of tables and their columns",
    ("manifest/check.py", "f'PRAGMA {pragma}({_FAULTS_OF_FILE})'"): "one of two names, and a number",
    ("manifest/check.py", "f'PRAGMA {name}'"): "every caller hands in a name",
    ("manifest/check.py", "_COUNT_WINDOW"): "put into it are numbers of rows.py",
    ("manifest/check.py", "_ODD_LINES"): "the same",
    ("mastodon/database.py", "f'SET LOCAL {setting}'"): "of _SETTINGS",
    ("mastodon/database.py", "query"): "composed by psycopg",
    ("mastodon/identity.py", "query"): "composed by psycopg",
    (
        "mastodon/queries.py",
        "sql.SQL('DECLARE mastosync NO SCROLL CURSOR FOR {}').format(self._query)",
    ): "composed by psycopg",
    ("mastodon/queries.py", "self._connection.pgconn"): "no statement: it goes on with one",
    ("mastodon/identity.py", "f'SELECT id FROM \"{name}\" LIMIT 1'"): "a name of our own list of tables",
}
"""Statements that are made at run time, and why no stranger has a part in them. A new one is looked at first."""

LOOKED_AT = {(module, ast.unparse(ast.parse(statement))) for module, statement in REVIEWED}
"""The same as this version of Python writes them: versions differ in the quotes of an f-string."""

DOORS = {"cli/output.py", "progress.py"}
"""Where text leaves: what people read, each of these sends through `plain`."""

NO_TEXT = {
    ("store/filesystem/writing.py", "os.write(fd, view[at:])"): "an object's bytes, into its file",
    ("cli/logs.py", "os.write(self._fd, data[written:])"): "a record, which its formatter has made plain",
    ("cli/signals.py", "os.write(writing, _NO_SIGNAL)"): "a byte from one thread to another",
}


@cache
def tree_of(module: str) -> ast.Module:
    """Parsed when a test asks for it, and not by everybody who collects tests."""
    return ast.parse((ROOT / module).read_text("utf-8"))


def constants_of(tree: ast.Module) -> set[str]:
    """Names of a module that stand for text in quotes, or are imported and written in capitals as such names are."""
    found = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if (alias.asname or alias.name).isupper()
    }
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and is_constant(node.value, found):
            found.add(node.targets[0].id)
    return found


def is_constant(node: ast.expr, constants: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in constants
    if isinstance(node, ast.JoinedStr):
        made = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        return all(is_constant(value, constants) for value in made)
    return isinstance(node, ast.Constant) and isinstance(node.value, str | int)


def statements_of(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RUNS_SQL:
            yield node.args[0]


@pytest.mark.parametrize("module", MODULES)
def test_sql_is_a_constant_or_was_looked_at(module: str) -> None:
    constants = constants_of(tree_of(module))
    made = {ast.unparse(each) for each in statements_of(tree_of(module)) if not is_constant(each, constants)}
    assert made <= {statement for where, statement in LOOKED_AT if where == module}


def test_the_list_of_what_was_looked_at_names_nothing_that_is_gone() -> None:
    there = {(module, ast.unparse(each)) for module in MODULES for each in statements_of(tree_of(module))}
    assert there >= LOOKED_AT


@pytest.mark.parametrize(
    "code",
    [
        "connection.execute(f'SELECT {name}')",
        "connection.execute('SELECT ' + name)",
        "connection.execute('SELECT %s' % name)",
        "QUERY = make()\nconnection.execute(QUERY)",
        "connection.executescript(text)",
    ],
)
def test_a_statement_made_at_run_time_would_be_found(code: str) -> None:
    tree = ast.parse(code)
    assert not all(is_constant(each, constants_of(tree)) for each in statements_of(tree))


def prints(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in ("print", "click.echo", "click.secho", "os.write")
    return isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout.write", "sys.stderr.write")


@pytest.mark.parametrize("module", [module for module in MODULES if module not in DOORS])
def test_text_leaves_through_one_door(module: str) -> None:
    printed = {(module, ast.unparse(node)) for node in ast.walk(tree_of(module)) if prints(node)}
    assert printed <= set(NO_TEXT)


def test_every_door_is_one() -> None:
    assert all(any(map(prints, ast.walk(tree_of(door)))) for door in DOORS)
