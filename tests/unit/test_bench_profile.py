"""What `make bench-profile` makes of the stacks that a profiler has seen."""

from __future__ import annotations

from benchmarks.profile import summary

STACKS = """\
main (mastosync/cli/main.py:10);copy (mastosync/copying/copier.py:20);md5 (a.py:1) 30
main (mastosync/cli/main.py:11);copy (mastosync/copying/copier.py:21);copy (mastosync/copying/copier.py:22) 10
Thread.run (threading.py:975);Condition.wait (threading.py:324) 500
 7
"""


def test_time_is_told_by_line_by_function_and_by_stack_and_waits_are_left_out() -> None:
    lines, functions, stacks = summary(STACKS, top=2).rstrip("\n").split("\n\n")
    assert lines.splitlines() == [
        "40 samples (py-spy), by line:",
        "  75.0 %  md5 (a.py:1)",
        "  25.0 %  copy (mastosync/copying/copier.py:22)",
    ]
    assert functions.splitlines()[1:] == [
        " 100.0 %  main (mastosync/cli/main.py)",
        " 100.0 %  copy (mastosync/copying/copier.py)",
    ]
    assert stacks.splitlines()[1] == (
        "  75.0 %  md5 (a.py:1) < copy (mastosync/copying/copier.py:20) < main (mastosync/cli/main.py:10)"
    )


def test_a_profile_of_nothing_is_empty() -> None:
    assert "0 samples" in summary("", top=3)
