"""The command line: composes configurations, checks them, calls the stages, explains errors."""
