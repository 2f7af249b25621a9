"""Each way in which PostgreSQL and libpq fail leads to the right next step."""

from __future__ import annotations

import pytest

from mastosync.mastodon.connection import hint_for, may_pass

AT = 'connection to server at "db.example" (192.0.2.1), port 5432 failed: '


@pytest.mark.parametrize(
    ("text", "step"),
    [
        (AT + "Connection refused\n\tIs the server running on that host?", "is PostgreSQL running"),
        (AT + "No route to host", "is PostgreSQL running"),
        (
            'connection to server on socket "/x/.s.PGSQL.5432" failed: No such file or directory',
            "is PostgreSQL running",
        ),
        ('could not translate host name "db" to address: Name or service not known', "typing error"),
        ("[Errno -2] Name or service not known", "typing error"),
        ("connection timeout expired", "firewall"),
        (AT + 'FATAL:  password authentication failed for user "mastodon"', "DB_PASS"),
        (AT + "fe_sendauth: no password supplied", "DB_PASS"),
        (AT + "FATAL:  SASL authentication failed", "DB_PASS"),
        (AT + 'FATAL:  Peer authentication failed for user "mastodon"', "127.0.0.1"),
        (
            AT + 'FATAL:  no pg_hba.conf entry for host "192.0.2.7", user "m", database "m", no encryption',
            "pg_hba.conf",
        ),
        (AT + 'FATAL:  role "mastodn" does not exist', "DB_USER"),
        (AT + 'FATAL:  database "mastodon" does not exist', "DB_NAME"),
        (AT + "FATAL:  no such database: mastodon", "DB_NAME"),
        (AT + 'FATAL:  permission denied for database "mastodon"', "GRANT CONNECT"),
        (AT + "server does not support SSL, but SSL was required", "sslmode = prefer"),
        (AT + 'root certificate file "/root/.postgresql/root.crt" does not exist', "PGSSLROOTCERT"),
        (AT + "SSL error: certificate verify failed", "PGSSLROOTCERT"),
        ('server certificate for "db" does not match host name "10.0.0.1"', "PGSSLROOTCERT"),
        (AT + "FATAL:  sorry, too many clients already", "try again later"),
        (AT + "FATAL:  remaining connection slots are reserved", "try again later"),
        (AT + "FATAL:  the database system is starting up", "in a minute"),
        (AT + "FATAL:  unsupported startup parameter: client_encoding", "ignore_startup_parameters"),
        ("server closed the connection unexpectedly", "run plan again"),
        ("consuming input failed: SSL SYSCALL error: EOF detected", "run plan again"),
        ("the connection is lost", "run plan again"),
        ("the connection is closed", "run plan again"),
    ],
)
def test_words_of_libpq(text: str, step: str) -> None:
    assert step in hint_for(None, text)


@pytest.mark.parametrize(
    ("sqlstate", "step"),
    [
        ("40001", "hot_standby_feedback"),
        ("42501", "SELECT"),
        ("57014", "time limit"),
        ("25P03", "time limit"),
        ("25P04", "time limit"),
        ("55P03", "migration"),
        ("53100", "log"),
        ("XX001", "log"),
        ("22021", "encoding"),
        ("53300", "try again later"),
        ("57P01", "broke off"),
        ("57P03", "in a minute"),
        ("08006", "broke off"),
    ],
)
def test_states_in_any_language(sqlstate: str, step: str) -> None:
    assert step in hint_for(sqlstate, "")


def test_the_unknown_has_no_remedy() -> None:
    assert hint_for("42601", "syntax error") == ""
    assert not may_pass("42601", "syntax error")


@pytest.mark.parametrize(
    "text",
    [
        AT + "Connection refused",
        AT + "FATAL:  the database system is starting up",
        AT + "FATAL:  sorry, too many clients already",
        "connection timeout expired",
        "could not translate host name",
        "server closed the connection unexpectedly",
    ],
)
def test_what_is_out_of_reach_or_busy_may_pass(text: str) -> None:
    assert may_pass(None, text)


@pytest.mark.parametrize(
    "text",
    [
        AT + 'FATAL:  password authentication failed for user "mastodon"',
        'connection to "::1" failed: Connection refused; to "127.0.0.1": FATAL:  password authentication failed',
        AT + 'FATAL:  database "mastodon" does not exist',
        AT + 'FATAL:  role "mastodn" does not exist',
        AT + "FATAL:  no pg_hba.conf entry for host",
    ],
)
def test_what_is_refused_does_not_pass(text: str) -> None:
    assert not may_pass(None, text)
