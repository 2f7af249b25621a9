"""From the source to the destination: the copier, one transfer, the ways to copy an object, and its ACL.

See docs/design/copying.md.
"""
