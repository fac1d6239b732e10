"""Global vectors in a vector database; one file owns one library."""

from ames_lite.search.databases.database import Matches, VectorDatabase, open_database

__all__ = ["Matches", "VectorDatabase", "open_database"]
