"""Programs that read files from strangers, each run in a process of its own with little to lose."""
