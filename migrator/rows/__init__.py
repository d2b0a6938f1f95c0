"""Rows of mapped collections in the target: look up, admit, copy, update, and rebuild the documents from them.

Not here: how a document becomes a row (`translation`), and how conflicts between documents are resolved
(`reconciliation`).
"""
