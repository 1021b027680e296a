"""`make bench-gateway`: what a request and a delivered message cost the gateway, beside others' gateways."""
