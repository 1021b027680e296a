"""The market's ports over the record store, the ledger, the chain service and the mesh's feeds."""
