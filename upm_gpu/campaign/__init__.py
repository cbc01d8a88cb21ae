"""Stress campaigns: many shocks over many books, see docs/design/0120."""
