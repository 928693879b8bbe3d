"""Which of several operators writes: a Lease, its rules, and how long a holder may still write."""
