"""Records, the SQLite store, and its migrations."""
