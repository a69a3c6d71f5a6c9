"""The loop and everything that orchestrates it."""
