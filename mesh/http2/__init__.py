"""Unary reads over HTTP/2 without gRPC's core: the same wire for half the work in Python.

gRPC's core hands every call through threads and queues of its own, which costs a process written in Python
more than the call itself. Here a call is one write and one read of the event loop, by
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md and RFC 9113. Only the plain case is known:
a read with a small request to a server that is connected and serves. Whatever else there is (commands,
streams, large requests, nobody connected, repetitions, waiting for a server) is left to gRPC's own channel.

`frames` is what goes over the wire, `incoming` how it is read, `calls` what becomes of a call, `connection`
one connection with its calls: what the server allows (`allowance`), how it is (`health`), whether it is there
at all (`pulse`). `pool` are the connections to all addresses, `unary` a read and what its end means.
"""
