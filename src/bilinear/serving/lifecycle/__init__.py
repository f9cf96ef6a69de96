"""The life of the served model: its folder, what was before, training anew and going back."""
