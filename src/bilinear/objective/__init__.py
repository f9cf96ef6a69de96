"""The training objective: losses, penalties, gradients, fold-in of new users."""
