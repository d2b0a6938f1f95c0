"""`migrate scaffold`: a draft of a migration from what a source holds. It reads all documents once (profiling), finds
references by their values, decides on tables and rules (draft), and writes packages as a person would (writing).

Data flows in this order; no module knows a later one.
"""
