"""Plan, run, verify, promote, rollback: history recomputed, proven equal and swapped in."""
