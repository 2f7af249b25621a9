"""`verify`, `adopt` and `orphans`: both stores compared with the manifest.

See docs/design/verifying.md.
"""
