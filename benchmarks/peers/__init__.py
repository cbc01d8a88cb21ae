"""Pipelines that a capable user would otherwise write, from ready parts. Each module offers `prepare(problem, scenarios, dtype, threads)`."""
