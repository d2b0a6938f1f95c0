"""The commands: parse the arguments, call a workflow, print the result.

What a command does is in the workflows; how a result looks is in terminal.
"""
