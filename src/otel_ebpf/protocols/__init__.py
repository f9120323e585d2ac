"""The protocols that are understood, and the semantic conventions of each."""
