"""The lab: real servers from Python wheels, for the demo and for the tests.

`Lab` starts PostgreSQL, SeaweedFS and moto behind a guardian process, which stops them whatever
happens to whoever asked for them. Everything listens on 127.0.0.1 only.
"""
