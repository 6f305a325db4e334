"""Models that read a user's history in time order."""
