package insights.flink;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.IntStream;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.formats.avro.registry.confluent.AvroConfluentFormatOptions;
import org.apache.flink.formats.avro.registry.confluent.RegistryAvroFormatFactory;
import org.apache.flink.formats.avro.typeutils.AvroSchemaConverter;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.connector.format.DecodingFormat;
import org.apache.flink.table.connector.format.ProjectableDecodingFormat;
import org.apache.flink.table.data.ArrayData;
import org.apache.flink.table.data.DecimalData;
import org.apache.flink.table.data.MapData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.runtime.connector.source.ScanRuntimeProviderContext;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.ArrayType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.MapType;
import org.apache.flink.table.types.logical.RowType;
import org.apache.flink.table.types.logical.TimestampType;

/**
 * Decodes records with the live job's format, made as the live job makes it, and says what came of each.
 *
 * <p>Arguments: the registry's address, and a file with each contract's schema. Input: (contract, length, bytes) a record,
 * where the length -1 is a tombstone. Output: a line a record, {@code ["row", {...}]}, {@code ["dead", reason, bytes]} or
 * {@code ["thrown", exception]}, with fractions as their bits and bytes as hexadecimal digits. With {@code --time ROUNDS},
 * the nanoseconds that this format and Flink's own take for all of the input, a line a round.
 */
public final class DecodeMany {
    private final DeserializationSchema<RowData> format;
    private final RowType type;

    private DecodeMany(RegistryAvroFormatFactory factory, String registry, String contract, boolean hasReason)
            throws Exception {
        Configuration options = new Configuration();
        options.set(AvroConfluentFormatOptions.URL, registry);
        options.set(AvroConfluentFormatOptions.SCHEMA, contract);
        List<DataTypes.Field> columns = new ArrayList<>();
        DataType whole = AvroSchemaConverter.convertToDataType(contract);
        List<String> names = DataType.getFieldNames(whole);
        for (int n = 0; n < names.size(); n++) {
            columns.add(DataTypes.FIELD(names.get(n), DataType.getFieldDataTypes(whole).get(n)));
        }
        if (hasReason) {
            columns.add(DataTypes.FIELD(AvroOrReasonFormatFactory.VALUE, DataTypes.BYTES()));
            columns.add(DataTypes.FIELD(AvroOrReasonFormatFactory.REASON, DataTypes.STRING()));
        }
        DataType physical = DataTypes.ROW(columns.toArray(new DataTypes.Field[0])).notNull();
        int[][] all = IntStream.range(0, columns.size()).mapToObj(n -> new int[] {n}).toArray(int[][]::new);
        DecodingFormat<DeserializationSchema<RowData>> decoding = factory.createDecodingFormat(null, options);
        format = ((ProjectableDecodingFormat<DeserializationSchema<RowData>>) decoding)
                .createRuntimeDecoder(ScanRuntimeProviderContext.INSTANCE, physical, all);
        format.open(null);
        type = (RowType) whole.getLogicalType();
    }

    private record Input(int contract, byte[] message) {}

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.UTF_8);
        System.setOut(System.err);
        List<String> contracts = Files.readAllLines(Path.of(arguments[1]));
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in, 1 << 16));
        if (arguments.length > 2) {
            time(arguments[0], contracts, in, Integer.parseInt(arguments[3]), out);
            return;
        }
        List<DecodeMany> decoders = all(new AvroOrReasonFormatFactory(), arguments[0], contracts, true);
        for (Input next = read(in); next != null; next = read(in)) {
            out.println(decoders.get(next.contract).told(next.message));
            if (in.available() == 0) {
                out.flush();
            }
        }
        out.flush();
    }

    private static List<DecodeMany> all(
            RegistryAvroFormatFactory factory, String registry, List<String> contracts, boolean hasReason)
            throws Exception {
        List<DecodeMany> made = new ArrayList<>();
        for (String contract : contracts) {
            made.add(new DecodeMany(factory, registry, contract, hasReason));
        }
        return made;
    }

    private static Input read(DataInputStream in) throws IOException {
        try {
            int contract = in.readInt();
            int length = in.readInt();
            byte[] message = length < 0 ? null : new byte[length];
            if (message != null) {
                in.readFully(message);
            }
            return new Input(contract, message);
        } catch (EOFException end) {
            return null;
        }
    }

    private static void time(String registry, List<String> contracts, DataInputStream in, int rounds, PrintStream out)
            throws Exception {
        List<Input> inputs = new ArrayList<>();
        for (Input next = read(in); next != null; next = read(in)) {
            inputs.add(next);
        }
        List<DecodeMany> ours = all(new AvroOrReasonFormatFactory(), registry, contracts, true);
        List<DecodeMany> flinks = all(new RegistryAvroFormatFactory(), registry, contracts, false);
        for (int round = 0; round < rounds; round++) {
            // Who comes first changes, so that neither has the machine's better moments.
            long first = nanos(round % 2 == 0 ? ours : flinks, inputs);
            long second = nanos(round % 2 == 0 ? flinks : ours, inputs);
            out.println(round % 2 == 0 ? first + " " + second : second + " " + first);
        }
        out.flush();
    }

    private static long nanos(List<DecodeMany> decoders, List<Input> inputs) throws IOException {
        long began = System.nanoTime();
        int rows = 0;
        for (Input input : inputs) {
            rows += decoders.get(input.contract).format.deserialize(input.message).getArity() > 0 ? 1 : 0;
        }
        if (rows != inputs.size()) {
            throw new IllegalStateException("a record gave no row");
        }
        return System.nanoTime() - began;
    }

    private String told(byte[] message) {
        StringBuilder line = new StringBuilder();
        try {
            RowData row = format.deserialize(message);
            int fields = type.getFieldCount();
            if (row.isNullAt(fields + 1)) {
                line.append("[\"row\", ");
                write(line, type, row);
                return line.append("]").toString();
            }
            for (int n = 0; n < fields; n++) {
                if (!row.isNullAt(n)) {
                    throw new IllegalStateException("a dead record has a value in " + type.getFieldNames().get(n));
                }
            }
            text(line.append("[\"dead\", "), row.getString(fields + 1).toString());
            text(line.append(", "), row.isNullAt(fields) ? "" : HexFormat.of().formatHex(row.getBinary(fields)));
            return line.append("]").toString();
        } catch (Throwable thrown) {
            line.setLength(0);
            text(line.append("[\"thrown\", "), thrown.toString());
            return line.append("]").toString();
        }
    }

    private static void write(StringBuilder line, RowType type, RowData row) {
        line.append("{");
        for (int n = 0; n < type.getFieldCount(); n++) {
            text(line.append(n == 0 ? "" : ", "), type.getFieldNames().get(n));
            LogicalType kind = type.getTypeAt(n);
            write(line.append(": "), kind, RowData.createFieldGetter(kind, n).getFieldOrNull(row));
        }
        line.append("}");
    }

    private static void write(StringBuilder line, LogicalType type, Object value) {
        if (value == null) {
            line.append("null");
            return;
        }
        switch (type.getTypeRoot()) {
            case ROW -> write(line, (RowType) type, (RowData) value);
            case ARRAY -> items(line, ((ArrayType) type).getElementType(), (ArrayData) value);
            case MAP -> entries(line, (MapType) type, (MapData) value);
            case DECIMAL -> text(line, ((DecimalData) value).toBigDecimal().toPlainString());
            case TIMESTAMP_WITHOUT_TIME_ZONE -> line.append(((TimestampData) value).getMillisecond());
            case DOUBLE -> line.append(Double.doubleToRawLongBits((Double) value));
            case FLOAT -> line.append(Float.floatToRawIntBits((Float) value));
            case BINARY, VARBINARY -> text(line, HexFormat.of().formatHex((byte[]) value));
            case CHAR, VARCHAR -> text(line, value.toString());
            default -> line.append(value);
        }
    }

    private static void items(StringBuilder line, LogicalType type, ArrayData items) {
        ArrayData.ElementGetter getter = ArrayData.createElementGetter(type);
        line.append("[");
        for (int n = 0; n < items.size(); n++) {
            write(line.append(n == 0 ? "" : ", "), type, getter.getElementOrNull(items, n));
        }
        line.append("]");
    }

    private static void entries(StringBuilder line, MapType type, MapData map) {
        ArrayData.ElementGetter keys = ArrayData.createElementGetter(type.getKeyType());
        ArrayData.ElementGetter values = ArrayData.createElementGetter(type.getValueType());
        line.append("{");
        for (int n = 0; n < map.size(); n++) {
            write(line.append(n == 0 ? "" : ", "), type.getKeyType(), keys.getElementOrNull(map.keyArray(), n));
            write(line.append(": "), type.getValueType(), values.getElementOrNull(map.valueArray(), n));
        }
        line.append("}");
    }

    private static void text(StringBuilder line, String value) {
        line.append('"');
        for (int n = 0; n < value.length(); n++) {
            char c = value.charAt(n);
            if (c == '"' || c == '\\' || c < ' ' || Character.isSurrogate(c) || c > 0x7e) {
                line.append(String.format("\\u%04x", (int) c));
            } else {
                line.append(c);
            }
        }
        line.append('"');
    }
}
