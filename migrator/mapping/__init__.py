"""What the author of a migration writes: collections, rules, codecs, merges; and the loader of these packages."""
