"""Carries runs out: the agent of some settings, the loop that trains it, devices, hosts, signals, compiled programs."""
