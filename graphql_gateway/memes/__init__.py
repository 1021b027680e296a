"""Memes, their films and their way through the pipeline."""
