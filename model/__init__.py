"""Weights on disk, engines, and the model server."""
