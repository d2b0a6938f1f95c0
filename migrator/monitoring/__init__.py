"""A run seen from beside it: how far it is, what it waits for, what holds it back."""
