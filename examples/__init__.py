"""Applications to try `migrate scaffold` with."""
