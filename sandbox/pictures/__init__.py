"""Meme pictures, drawn from a seed: a scene, a cartoon face, two lines of text. Same seed, same picture.

Everything but the text is drawn at twice the size and scaled down, which smooths all edges.
"""

from sandbox.pictures.meme import Aspect, Caption, PictureFormat, draw_meme, meme_bytes

__all__ = ["Aspect", "Caption", "PictureFormat", "draw_meme", "meme_bytes"]
