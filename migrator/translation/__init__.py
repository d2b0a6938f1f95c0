"""A document → a row and its residue, and back: values, rules, and the code that is made of them. No SQL here."""
