"""How the shipped heads in weights/ are made."""
