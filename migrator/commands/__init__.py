"""The commands: parse, call, answer. What they do is in the stages; how it looks, in console and render."""
