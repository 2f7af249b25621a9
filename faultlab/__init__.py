"""The fault lab: whole migrations by real processes on bad days, each one made up from a seed.

`scenario` makes a day up, `run` lives through it, `invariants` says what must hold after every
step of it, and `report` what a number of days have come to. Tests and `make faults` use the same.
"""
