"""How a result can be made again: as metadata, Python, a command, a preset."""
