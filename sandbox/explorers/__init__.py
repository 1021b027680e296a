"""Stand-ins for WhatsOnChain and ARC: their HTTP and WebSocket shapes over a real node, with bad days."""
