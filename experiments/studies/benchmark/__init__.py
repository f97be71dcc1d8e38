"""Measures the library against its peers, against itself without what makes it fast, and against the machine."""
