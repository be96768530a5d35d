"""The command line `cartl`: the same engine as the window's, through the same `engine.api.Session`."""
