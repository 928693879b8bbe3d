"""Memory, operations and hours that a run will need, from the shape of its base. Free of torch."""
