"""The loop, checkpoints, and run directories."""
