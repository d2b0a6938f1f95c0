"""Translation of documents to rows and residues, and back: operations, and code generated from them. No SQL."""
