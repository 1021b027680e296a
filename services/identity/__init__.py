"""Identity: who somebody is. Users, wallet log-in, sessions, roles."""
