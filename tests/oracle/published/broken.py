"""A page that cannot be imported."""

raise ValueError("a fault of the oracle")
