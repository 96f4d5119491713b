package insights.flink;

import java.io.EOFException;
import java.io.IOException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.avro.shaded.org.apache.avro.Schema;
import org.apache.flink.avro.shaded.org.apache.avro.generic.GenericDatumReader;
import org.apache.flink.avro.shaded.org.apache.avro.generic.GenericRecord;
import org.apache.flink.formats.avro.AvroToRowDataConverters.AvroToRowDataConverter;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.types.logical.RowType;

/** A record's fields, or its bytes and the reason why it has none. Made by {@link AvroOrReasonFormatFactory}. */
final class AvroOrReason implements DeserializationSchema<RowData> {
    private static final long serialVersionUID = 1L;
    static final int VALUE = -1;
    static final int REASON = -2;

    private final String registry;
    private final String contract;
    private final RowType type;
    private final AvroToRowDataConverter converter;
    private final int[] places;
    private final TypeInformation<RowData> produced;

    private transient SchemasById schemas;
    private transient Schema reader;
    private transient Map<Schema, GenericDatumReader<GenericRecord>> readers;
    private transient StrictDecoder decoder;

    AvroOrReason(
            String registry,
            String contract,
            RowType type,
            AvroToRowDataConverter converter,
            List<Integer> places,
            TypeInformation<RowData> produced) {
        this.registry = registry;
        this.contract = contract;
        this.type = type;
        this.converter = converter;
        this.places = places.stream().mapToInt(Integer::intValue).toArray();
        this.produced = produced;
    }

    @Override
    public void open(InitializationContext context) {
        Limits.set();
        schemas = new SchemasById(registry);
        reader = new Schema.Parser().parse(contract);
        readers = new HashMap<>();
        decoder = new StrictDecoder();
    }

    @Override
    public RowData deserialize(byte[] message) throws IOException {
        if (message == null) {
            return row(null, null, "it is a tombstone: a record without a value");
        }
        try {
            GenericRecord record = record(message);
            GenericRowData fields = (GenericRowData) converter.convert(record);
            String problem = Storable.problem(type, fields, record);
            return problem == null ? row(fields, null, null) : row(null, message, problem);
        } catch (SchemasById.Away notTheRecordsFault) {
            throw notTheRecordsFault;
        } catch (Unreadable error) {
            return row(null, message, error.getMessage());
        } catch (IOException | RuntimeException error) {
            return row(null, message, "its bytes are not what its schema says: " + said(error));
        }
    }

    private GenericRecord record(byte[] message) throws IOException {
        Schema writer = schemas.of(message);
        GenericDatumReader<GenericRecord> datum =
                readers.computeIfAbsent(writer, known -> new GenericDatumReader<>(known, reader));
        decoder.read(message, SchemasById.HEAD);
        GenericRecord record = datum.read(null, decoder);
        if (!decoder.isEnd()) {
            throw new Unreadable("bytes are left after what its schema says");
        }
        return record;
    }

    private static String said(Exception error) {
        if (error instanceof EOFException) {
            return "they end too early";
        }
        if (error instanceof IndexOutOfBoundsException) {
            return "a choice in it, of an enum or a union, is none that its schema has";
        }
        return error.getMessage() == null ? error.getClass().getSimpleName() : error.getMessage();
    }

    private GenericRowData row(GenericRowData fields, byte[] value, String reason) {
        GenericRowData row = new GenericRowData(places.length);
        for (int n = 0; n < places.length; n++) {
            if (places[n] == VALUE) {
                row.setField(n, value);
            } else if (places[n] == REASON) {
                row.setField(n, reason == null ? null : StringData.fromString(reason));
            } else if (fields != null) {
                row.setField(n, fields.getField(places[n]));
            }
        }
        return row;
    }

    @Override
    public boolean isEndOfStream(RowData row) {
        return false;
    }

    @Override
    public TypeInformation<RowData> getProducedType() {
        return produced;
    }
}
