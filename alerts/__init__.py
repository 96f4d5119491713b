"""Tables to people who are not looking: rules in YAML, checked again and again, told by webhook, Slack and e-mail.

It reads Postgres. It must not know what is computed and how, nor any engine.
"""
