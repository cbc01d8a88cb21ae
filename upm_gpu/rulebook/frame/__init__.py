"""What all rule books stand on: terms and positions as columns, the priced grid, volatility shocks, sums by account, the result."""
