"""The Pareto frontier of a metric against the bytes of an image and the milliseconds of a query."""
