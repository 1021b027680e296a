"""The round's rules: values, the state machine, ranking and the public record. Pure and synchronous."""
