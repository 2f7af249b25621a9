"""What Mastodon knows: its attachments and their keys, its database, and its own settings.

See docs/design/planning.md.
"""
