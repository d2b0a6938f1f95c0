"""Rows of mapped collections in the target: looked up, admitted, copied, updated, rebuilt as documents."""
