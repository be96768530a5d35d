"""Pictures of the window: stroke icons in currentColor and the program's own icon."""
