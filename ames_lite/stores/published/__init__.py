"""Files of others, read as they were published: stores, neighbour pickles, object arrays."""
