"""A stand-in for AITubo: its HTTP job protocol, and films that it really renders."""
