"""What a run is told: settings with their ranges, flags made of them, environments by name."""
