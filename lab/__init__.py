"""The lab: a library with real servers from Python wheels, for the tests, the demo, the fault lab and the benchmarks.

`Lab` starts PostgreSQL, SeaweedFS and moto behind a guardian process, which stops them whatever
happens to whoever asked for them. Everything listens on 127.0.0.1 only.
"""
