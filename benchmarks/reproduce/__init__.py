"""Published numbers again: the rows, and the command that evaluates them."""
