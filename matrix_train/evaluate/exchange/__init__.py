"""Results in other people's files, and theirs in ours."""
