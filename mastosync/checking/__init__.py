"""Checks of one object: its bytes, who can read it, and its row as it is now.

See docs/design/privacy.md and docs/design/verifying.md.
"""
