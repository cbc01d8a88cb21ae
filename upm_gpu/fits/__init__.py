"""The jobs behind `upm calibrate` that need more than a fit: the engine's own prices to compare with, the page, the provenance of a run.

A guest of the house: the engine does not know it. The fits themselves stand in `calibrate`. docs/design/0115-fits-to-option-chains.md.
"""
