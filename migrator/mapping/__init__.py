"""What the author of a migration writes: collections, rules, codecs, references, merges; and how it is loaded."""
