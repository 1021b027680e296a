"""What the mesh is made of and who speaks with whom: everything that runs it is generated from here."""
