"""What is left on disk: run folders, checkpoints, metrics, files that are written whole or not at all."""
