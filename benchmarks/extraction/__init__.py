"""What extraction, reading a store and neighbour lists cost, each against a plain way."""
