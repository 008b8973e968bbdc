"""Watching an agent: what it sees, thinks and does at each step, as pictures, films and lines of text."""
