"""The desktop window. It knows the engine only through its api, config, events and errors."""
