"""What the log may know about a person: pseudonyms for ids, encrypted dead letters, and the keys for both."""
