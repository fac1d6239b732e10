"""The slow, obvious forms that the fast ones are judged by and timed against."""
