"""The GraphQL front of the mesh: what clients see of it, and no business rule."""
