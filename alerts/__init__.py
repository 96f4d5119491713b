"""Alerts from tables: rules in YAML, checked at intervals, with notifications by webhook, Slack and e-mail.

It reads Postgres. It must not know what is computed and how, nor any engine.
"""
