"""Generator of the reference pages. Not here: hand-written pages, and the site's layout (mkdocs.yml)."""
