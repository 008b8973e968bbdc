"""What a trained agent remembers: episodes recorded with its states, what is measured on them, pictures, a page."""
