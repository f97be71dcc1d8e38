"""Command-line experiments: flags in, files and pictures out."""
