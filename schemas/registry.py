"""The schema registry (Confluent's API: Apicurio in the embedded stack, Redpanda's own in compose).

A thin layer over confluent_kafka's client that speaks in contracts and in this project's errors.
"""

from __future__ import annotations

import time
import warnings
import weakref
from urllib.parse import unquote, urlsplit, urlunsplit

from schemas.catalogue import Event, avro_events
from schemas.errors import IncompatibleSchema, PoisonEvent, RegistryUnavailable

# authlib, which the client brings, warns its own authors when it is imported, and no filter keeps it from that.
with warnings.catch_warnings(record=True):
    import httpx
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
    from confluent_kafka.schema_registry.error import SchemaRegistryError

LEVEL = "FULL_TRANSITIVE"
NOT_FOUND = (40401, 40402, 40403)
NO_SUCH_ID = (*NOT_FOUND, 404, 400, 422, 42201, 42202)  # of an id alone, also of one that no server could have
UNKNOWN_SECONDS = 60.0
MOST_UNKNOWN = 10_000


def without_user(url: str) -> str:
    """The address without user and password, to be shown."""
    at = urlsplit(url)
    return urlunsplit(at._replace(netloc=at.netloc.rpartition("@")[2]))


class Registry:
    """One registry, at ``https://user:password@host/path`` where it asks for them, which are shown nowhere.

    Every call may block for a few seconds and raise RegistryUnavailable.
    """

    def __init__(self, url: str) -> None:
        self.url = without_user(url)
        user, _, _ = urlsplit(url).netloc.rpartition("@")
        login = {"basic.auth.user.info": unquote(user)} if user else {}
        self._client = SchemaRegistryClient({"url": self.url, "timeout": 10, **login})
        weakref.finalize(self, self._client.__exit__)  # its connections end with this object
        self._texts: dict[int, str] = {}
        self._unknown: dict[int, float] = {}

    def register(self, event: Event) -> int:
        """The schema id of this contract, registering it if it is new.

        Raises IncompatibleSchema, with versions and field, when it breaks a registered version.
        """
        try:
            self._client.set_compatibility(subject_name=event.subject, level=LEVEL)
            self.check(event)
            return int(self._client.register_schema(event.subject, Schema(event.schema_text, "AVRO")))
        except (SchemaRegistryError, httpx.HTTPError) as error:
            raise self._unavailable(error) from error

    def schema_id(self, event: Event) -> int:
        """The id under which exactly this contract is registered. Raises IncompatibleSchema when it is not."""
        try:
            found = self._client.lookup_schema(event.subject, Schema(event.schema_text, "AVRO"))
        except SchemaRegistryError as error:
            if error.error_code in NOT_FOUND:
                raise IncompatibleSchema(
                    f"{event.name}: this version of the contract is not registered at {self.url};"
                    " run `insights schemas register`"
                ) from error
            raise self._unavailable(error) from error
        except httpx.HTTPError as error:
            raise self._unavailable(error) from error
        return int(found.schema_id)

    def versions(self, event: Event) -> dict[int, str]:
        """Every registered version of the contract, oldest first: {version: schema text}."""
        try:
            numbers = self._client.get_versions(event.subject)
            return {n: self._client.get_version(event.subject, n).schema.schema_str for n in numbers}
        except SchemaRegistryError as error:
            if error.error_code in NOT_FOUND:
                return {}
            raise self._unavailable(error) from error
        except httpx.HTTPError as error:
            raise self._unavailable(error) from error

    def check(self, event: Event) -> None:
        """Raises IncompatibleSchema when the contract is not FULL_TRANSITIVE with what is registered.

        Judged here rather than by the server, whose messages name neither the version nor the field.
        """
        from schemas.compatibility import check_against

        released = {f"version {n} in the registry": text for n, text in self.versions(event).items()}
        check_against(event, released)

    def schema_text(self, schema_id: int) -> str:
        """The schema with this id. Raises PoisonEvent when there is none, which it believes for UNKNOWN_SECONDS."""
        if self._unknown.get(schema_id, 0.0) > time.monotonic():
            raise self._poison(schema_id)
        if schema_id not in self._texts:
            try:
                self._texts[schema_id] = str(self._client.get_schema(schema_id).schema_str)
            except SchemaRegistryError as error:
                # What another server on the way says, a proxy's plain 404 for example, has no code, and -1 here.
                if error.error_code not in NO_SUCH_ID:
                    raise self._unavailable(error) from error
                if len(self._unknown) >= MOST_UNKNOWN:
                    self._unknown.clear()
                self._unknown[schema_id] = time.monotonic() + UNKNOWN_SECONDS
                raise self._poison(schema_id) from error
            except httpx.HTTPError as error:
                raise self._unavailable(error) from error
        return self._texts[schema_id]

    def register_all(self) -> dict[str, int]:
        """Registers every Avro contract: {event name: schema id}."""
        return {event.name: self.register(event) for event in avro_events()}

    def _poison(self, schema_id: int) -> PoisonEvent:
        return PoisonEvent(f"no schema has the id {schema_id} in the registry at {self.url}")

    def _unavailable(self, error: Exception) -> RegistryUnavailable:
        return RegistryUnavailable(
            f"the schema registry at {self.url} did not answer as expected ({error}); check `insights status`"
        )
