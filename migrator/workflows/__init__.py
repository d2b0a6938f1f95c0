"""One module for each thing a user asks for: plan, run, dry run, verify, revert, export, retry of rejects."""
