"""Forks that `make fork` makes. `make test-fork` runs these: they are not in a fork's own `make test`."""
