"""Calls with stages and deadlines, the intraday risk charge, statements."""
