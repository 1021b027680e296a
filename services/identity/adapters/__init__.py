"""Identity's ports over the record store, Redis, bsv-sdk and the mesh."""
