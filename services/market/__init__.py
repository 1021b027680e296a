"""Market: titles offered and sold at fixed prices."""
