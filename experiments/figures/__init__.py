"""Pictures, tables and sentences, and the averages that they show."""
