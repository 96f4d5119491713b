package insights.flink;

import java.util.List;
import java.util.Map;
import org.apache.flink.avro.shaded.org.apache.avro.generic.IndexedRecord;
import org.apache.flink.table.data.GenericArrayData;
import org.apache.flink.table.data.GenericMapData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.types.logical.ArrayType;
import org.apache.flink.table.types.logical.LogicalType;
import org.apache.flink.table.types.logical.MapType;
import org.apache.flink.table.types.logical.RowType;

/** Whether the tables that the job writes have room for a value that Avro has: else the job would fail on it for ever. */
final class Storable {
    // Years 1 to 9999.
    private static final long FIRST_MILLI = -62_135_596_800_000L;
    private static final long LAST_MILLI = 253_402_300_799_999L;
    private static final int FIRST_DAY = -719_162;
    private static final int LAST_DAY = 2_932_896;

    private Storable() {}

    /** The first field that can't be stored and why, or null. {@code avro} is what the row was made of. */
    static String problem(RowType type, GenericRowData row, IndexedRecord avro) {
        List<RowType.RowField> fields = type.getFields();
        for (int n = 0; n < fields.size(); n++) {
            String problem = problem(fields.get(n).getType(), row.getField(n), avro.get(n));
            if (problem != null) {
                return fields.get(n).getName() + problem;
            }
        }
        return null;
    }

    private static String problem(LogicalType type, Object value, Object avro) {
        if (value == null) {
            // Flink makes null of a decimal that is too large.
            return avro == null ? null : " has more digits than its type";
        }
        switch (type.getTypeRoot()) {
            case VARCHAR:
                return value.toString().indexOf('\0') < 0 ? null : " has the character U+0000, which no table can hold";
            case TIMESTAMP_WITHOUT_TIME_ZONE:
                long milli = ((TimestampData) value).getMillisecond();
                return milli >= FIRST_MILLI && milli <= LAST_MILLI ? null : " is a time outside of the years 1 to 9999";
            case DATE:
                int day = (Integer) value;
                return day >= FIRST_DAY && day <= LAST_DAY ? null : " is a day outside of the years 1 to 9999";
            case ARRAY:
                return ofItems(((ArrayType) type).getElementType(), (GenericArrayData) value, (List<?>) avro);
            case MAP:
                return ofEntries((MapType) type, (GenericMapData) value, (Map<?, ?>) avro);
            case ROW:
                String inner = problem((RowType) type, (GenericRowData) value, (IndexedRecord) avro);
                return inner == null ? null : "." + inner;
            default:
                return null;
        }
    }

    private static String ofItems(LogicalType type, GenericArrayData items, List<?> avro) {
        Object[] values = items.toObjectArray();
        for (int n = 0; n < values.length; n++) {
            String problem = problem(type, values[n], avro.get(n));
            if (problem != null) {
                return "[" + n + "]" + problem;
            }
        }
        return null;
    }

    private static String ofEntries(MapType type, GenericMapData entries, Map<?, ?> avro) {
        for (Map.Entry<?, ?> entry : avro.entrySet()) {
            StringData key = StringData.fromString(entry.getKey().toString());
            String problem = problem(type.getKeyType(), key, entry.getKey());
            if (problem == null) {
                problem = problem(type.getValueType(), entries.get(key), entry.getValue());
            }
            if (problem != null) {
                return "." + key + problem;
            }
        }
        return null;
    }
}
