"""Tables to people who are not looking: rules in YAML, checked again and again, told by webhook, Slack and e-mail."""
