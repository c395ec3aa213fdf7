"""A script that fails."""

raise ValueError("a fault of the oracle")
