"""OKX's portfolio margin: its parameters; the rule book is `rulebook/okx_pm.py`."""
