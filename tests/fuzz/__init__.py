"""Fuzzing: every door that takes what others wrote, fed with what nobody meant.

- `seeds`: where the inputs start, the recorded streams of `tests/data`
- `mutations`: what is done to them
- `doors`: what must hold for whatever comes in
- `python -m tests.fuzz --minutes 10`: the long run; `test_fuzz_doors.py` is the short one
"""
