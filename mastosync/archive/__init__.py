"""`manifest export` and `manifest import`.

See docs/design/manifest.md.
"""
