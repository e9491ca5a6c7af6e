"""Everything that can fail, while clients publish and read; and a checker of what they saw (R28).

`make chaos` runs it for ten minutes; `python -m tests.chaos --help` says what else it can do.
"""
