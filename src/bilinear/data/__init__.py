"""Tables of interactions and ratings: reading, splitting, describing, public and synthetic ones."""
