"""What the log may know of a person: pseudonyms for ids, sealed dead letters, and the keys that both stand on."""
