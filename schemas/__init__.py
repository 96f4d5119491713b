"""The contracts: one Avro schema per event, the catalogue that reads them, the codec, the registry client, all errors.

It must not know any other folder.
"""
