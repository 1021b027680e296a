"""The domains as subgraphs under Apollo's composition and router: `make federation-check`."""
