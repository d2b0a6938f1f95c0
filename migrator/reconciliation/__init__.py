"""What only all documents together can tell, put right in rows that are loaded: claims, trees, lists, merges."""
