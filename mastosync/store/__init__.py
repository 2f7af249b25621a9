"""Object stores: `base` is the contract, `errors` the one table from answers to errors.

See docs/design/stores.md.
"""
