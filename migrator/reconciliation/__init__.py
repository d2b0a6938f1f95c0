"""What can only be decided after all documents of a collection are loaded: ID conflicts, trees, member lists, merges.

Not here: the order of these steps and their journal entries (`stages/reconcile.py`).
"""
