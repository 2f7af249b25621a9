"""Requests without credentials: the public site, and files of other servers.

See docs/design/privacy.md and docs/security.md.
"""
