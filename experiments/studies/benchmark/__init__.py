"""Measures the library against its peers, against itself with another estimator or number of seeds, and the machine."""
