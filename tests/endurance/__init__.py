"""Endurance: what must not grow, slow down or differ when a store lives long.

- `soak`: days of a server's life in virtual time, client to subscriber, against an oracle
- `message`: one message of many megabytes in small deltas
- `python -m tests.endurance --hours 24`: the long runs; the tests beside it are the short ones
"""
