"""What the gateway is measured against: each over the same gRPC services, with the same answers."""
