"""Where clients come in: who they are, how errors look, uploads and media."""
