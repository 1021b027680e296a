"""The runtime every service stands on. It knows no domain nouns and imports no service."""
