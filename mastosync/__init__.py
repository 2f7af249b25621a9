"""mastosync moves a Mastodon instance's media from one object store to another."""

__version__ = "0.1.0"
