"""Commands for whoever works on mastosync: `python -m scripts.NAME`. Libraries for tests are `lab` and `faultlab`."""
