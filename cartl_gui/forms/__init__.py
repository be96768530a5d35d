"""Forms that are generated from the settings' classes."""
