"""Why an account needs its margin, what it loses where, and what changed between two runs."""
