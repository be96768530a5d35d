"""What holds for every test."""

from hypothesis import settings

# A busy machine must not fail a property by its time, and a run repeats the one before it.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
