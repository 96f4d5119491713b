package insights.flink;

import java.util.List;
import org.apache.flink.table.data.ArrayData;
import org.apache.flink.table.data.GenericArrayData;
import org.apache.flink.table.data.GenericMapData;
import org.apache.flink.table.data.GenericRowData;
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

    /** The first field that can't be stored and why, or null. */
    static String problem(RowType type, GenericRowData row) {
        List<RowType.RowField> fields = type.getFields();
        for (int n = 0; n < fields.size(); n++) {
            String problem = problem(fields.get(n).getType(), row.getField(n));
            if (problem != null) {
                return fields.get(n).getName() + problem;
            }
        }
        return null;
    }

    private static String problem(LogicalType type, Object value) {
        if (value == null) {
            return type.isNullable() ? null : " has more digits than its type";
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
                return ofItems(((ArrayType) type).getElementType(), (GenericArrayData) (ArrayData) value);
            case MAP:
                return ofEntries((MapType) type, (GenericMapData) value);
            case ROW:
                String inner = problem((RowType) type, (GenericRowData) value);
                return inner == null ? null : "." + inner;
            default:
                return null;
        }
    }

    private static String ofItems(LogicalType type, GenericArrayData items) {
        Object[] values = items.toObjectArray();
        for (int n = 0; n < values.length; n++) {
            String problem = problem(type, values[n]);
            if (problem != null) {
                return "[" + n + "]" + problem;
            }
        }
        return null;
    }

    private static String ofEntries(MapType type, GenericMapData entries) {
        Object[] keys = ((GenericArrayData) entries.keyArray()).toObjectArray();
        for (Object key : keys) {
            String problem = problem(type.getKeyType(), key);
            if (problem == null) {
                problem = problem(type.getValueType(), entries.get(key));
            }
            if (problem != null) {
                return "." + key + problem;
            }
        }
        return null;
    }
}
