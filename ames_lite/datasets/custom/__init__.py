"""Lists and ground truth of a custom data set, from pictures and labels of any form."""
