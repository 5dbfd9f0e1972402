"""Takes events; keeps them in SQLite, with how far each output has delivered them."""
