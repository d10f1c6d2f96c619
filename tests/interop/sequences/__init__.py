"""Random sequences of operations by Python and Go, side by side on one store."""
