"""What a person sees in a terminal: events as progress, reports as tables. The only importer of rich is console."""
