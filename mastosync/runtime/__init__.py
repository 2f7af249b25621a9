"""How work is carried on: stopping, limits, memory, retries, outages, and many transfers in few threads.

See docs/design/copying.md.
"""
