"""Every history of a small world, and not some of a large one: states are met once, whatever led to them."""
