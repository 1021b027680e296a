"""What the mesh adds to a call: the edge, sidecars, traces."""
