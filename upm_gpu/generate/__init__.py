"""What can be made up: books for a real market. A guest: the engine does not know it."""
