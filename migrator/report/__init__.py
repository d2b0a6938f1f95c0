"""The HTML page on a plan, a run or a verification: `*_content` modules collect the content, the others draw it."""
