"""What keeps the gateway answering whatever it is sent: prices, budgets, known documents."""
