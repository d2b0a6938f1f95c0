"""The HTML page on a plan, a run or a verification: what it says (content, journal), and how it looks (the others)."""
