"""The contracts: one Avro schema an event, the catalogue that reads them, the codec, the registry client."""
