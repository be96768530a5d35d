"""Measurements of speed and of what the window looks like, apart from the tests."""
