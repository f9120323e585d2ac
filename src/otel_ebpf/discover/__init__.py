"""Decides which processes are watched, and says why."""
