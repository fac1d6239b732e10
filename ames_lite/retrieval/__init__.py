"""Global search: exact nearest neighbours, k-means, VLAD. Import from the files below."""
