package insights.flink;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.avro.registry.confluent.shaded.io.confluent.kafka.schemaregistry.client.CachedSchemaRegistryClient;
import org.apache.flink.avro.registry.confluent.shaded.io.confluent.kafka.schemaregistry.client.SchemaRegistryClient;
import org.apache.flink.avro.registry.confluent.shaded.io.confluent.kafka.schemaregistry.client.rest.exceptions.RestClientException;
import org.apache.flink.avro.shaded.org.apache.avro.Schema;

/** The writer's schema of a record, by the id in its first five bytes. */
final class SchemasById {
    static final int HEAD = 5;
    private static final int NOT_FOUND = 404;
    private static final long UNKNOWN_MILLIS = 30_000;
    private static final int MOST_UNKNOWN = 10_000;

    private final SchemaRegistryClient registry;
    private final Map<Integer, Schema> known = new HashMap<>();
    private final Map<Integer, Long> unknownUntil = new HashMap<>();

    SchemasById(String url) {
        registry = new CachedSchemaRegistryClient(url, 1000);
    }

    /**
     * Throws {@link Unreadable} for a record without an id or with one that the registry does not know, and
     * {@link Away} when the registry does not answer.
     */
    Schema of(byte[] message) throws IOException {
        if (message.length < HEAD) {
            throw new Unreadable("it is too short to hold the id of a schema");
        }
        if (message[0] != 0) {
            throw new Unreadable(String.format(
                    "it begins with the byte %02X, and not with a zero and the id of a schema", message[0]));
        }
        int id = ByteBuffer.wrap(message, 1, 4).getInt();
        Schema schema = known.get(id);
        if (schema == null) {
            schema = asked(id);
            known.put(id, schema);
        }
        return schema;
    }

    private Schema asked(int id) throws IOException {
        Long until = unknownUntil.get(id);
        if (until != null && System.currentTimeMillis() < until) {
            throw unknown(id);
        }
        try {
            Schema schema = registry.getById(id);
            if (schema != null) {
                return schema;
            }
        } catch (RestClientException answer) {
            if (answer.getStatus() != NOT_FOUND) {
                throw new Away(id, answer);
            }
        } catch (IOException | RuntimeException away) {
            throw new Away(id, away);
        }
        if (unknownUntil.size() >= MOST_UNKNOWN) {
            unknownUntil.clear();
        }
        unknownUntil.put(id, System.currentTimeMillis() + UNKNOWN_MILLIS);
        throw unknown(id);
    }

    private static Unreadable unknown(int id) {
        return new Unreadable("the registry has no Avro schema " + Integer.toUnsignedString(id)
                + ", with which it says it was written");
    }

    /** The registry did not answer, or not as it should: it is to be asked again. */
    static final class Away extends IOException {
        private static final long serialVersionUID = 1L;

        Away(int id, Exception cause) {
            super("the registry did not tell schema " + id + ": " + cause.getMessage(), cause);
        }
    }
}
