"""Planted defects: small mutations of the library, each of which some test must catch.

- `defects.toml`: the list: file, old text, new text, the law it breaks, the tests that catch it
- `planting`: applies one to a copy of the package and runs the tests on that
- `python -m tests.defects`: all of them; `test_defects.py` keeps the list fresh and runs a few
"""
