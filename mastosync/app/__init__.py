"""Puts together what a command needs: one function for each command, which gets a `Context` first.

See docs/architecture.md.
"""
