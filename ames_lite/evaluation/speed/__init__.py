"""What a head costs: seconds, memory and arithmetic, against the dense referee of the tests."""
