"""Fits whose derivatives are made automatically, under JAX, on the device it sees: the same formulas as the compiled fits, another array library. JAX is imported here alone, and only when asked for.

docs/design/0115-fits-to-option-chains.md.
"""
