"""The command line.

See docs/design/interface.md.
"""
