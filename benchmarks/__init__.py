"""What the library costs, asked as questions and answered beside a baseline of the same run.

    python -m benchmarks             every question, as a table
    python -m benchmarks --quick     the same with small sizes, within a minute
    python -m benchmarks --publish   every question, then docs/benchmarks.md, plots, results.json

One file a question: `ingest`, `coalescing`, `recorded`, `copying`, `flatness`, `memory`,
`drawing`, `parsers`, `clients`. `timing` measures, `figures` holds what was measured, `page` and
`plots` show it, `regressions` compares two runs. Nothing here is part of the installed package.
"""
