"""`make bench-chain`: how fast transactions are made and checked, beside the targets and plain bsv-sdk."""
