"""Faults on purpose, then an account of every recipient (docs/testing.md).

`sink`, `injector`, `letters`, `logfiles`, `limits` and `checker` import nothing of the server: what
was promised, what arrived and what was logged is compared by code that shares nothing with it.
`rig` runs server and sink as processes. A run is a module of `cases` with

    ABOUT                  one line
    ROUNDS                 of a long run
    run(plan) -> [Row]     AssertionError only where the harness itself is at a loss

and is a command: `python -m tests.torture NAME --rounds N --seed S`.
"""
