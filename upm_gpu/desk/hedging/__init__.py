"""How to need less: the cheapest trades, the largest order that passes, where collateral helps most."""
