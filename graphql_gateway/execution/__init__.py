"""Operations compiled to Python: how the gateway executes GraphQL (README, "How operations are executed")."""
