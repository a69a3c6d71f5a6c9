"""What a plan may call: one tool a file."""
