"""Settings, their ranges, and the flags made of them; environments by name."""
