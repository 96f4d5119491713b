package insights.flink;

import java.util.List;
import java.util.stream.Collectors;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.formats.avro.AvroToRowDataConverters;
import org.apache.flink.formats.avro.registry.confluent.AvroConfluentFormatOptions;
import org.apache.flink.formats.avro.registry.confluent.RegistryAvroFormatFactory;
import org.apache.flink.formats.avro.typeutils.AvroSchemaConverter;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.Projection;
import org.apache.flink.table.connector.format.DecodingFormat;
import org.apache.flink.table.connector.format.ProjectableDecodingFormat;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DynamicTableFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.RowType;

/**
 * The format {@code avro-confluent} for a topic that anybody may write to, as {@code avro-or-reason}.
 *
 * <p>A record that can't be read fails nothing. Its row has null in every field of the contract, its bytes in the column
 * {@code unreadable_value} and what is wrong with it in {@code unreadable_reason}; that column is null where a record
 * was read. A registry that does not answer is no fault of the record's: then the job fails, and tries again.
 */
public class AvroOrReasonFormatFactory extends RegistryAvroFormatFactory {
    static final String VALUE = "unreadable_value";
    static final String REASON = "unreadable_reason";

    @Override
    public String factoryIdentifier() {
        return "avro-or-reason";
    }

    @Override
    public DecodingFormat<DeserializationSchema<RowData>> createDecodingFormat(
            DynamicTableFactory.Context context, ReadableConfig options) {
        FactoryUtil.validateFactoryOptions(this, options);
        return new Format(options.get(AvroConfluentFormatOptions.URL), options.get(AvroConfluentFormatOptions.SCHEMA));
    }

    private static final class Format implements ProjectableDecodingFormat<DeserializationSchema<RowData>> {
        private final String registry;
        private final String contract;

        Format(String registry, String contract) {
            this.registry = registry;
            this.contract = contract;
        }

        @Override
        public DeserializationSchema<RowData> createRuntimeDecoder(
                DynamicTableSource.Context context, DataType physical, int[][] projections) {
            DataType produced = Projection.of(projections).project(physical);
            RowType type = (RowType) AvroSchemaConverter.convertToDataType(contract).getLogicalType();
            List<Integer> places = ((RowType) produced.getLogicalType())
                    .getFieldNames().stream().map(name -> place(name, type)).collect(Collectors.toList());
            return new AvroOrReason(
                    registry,
                    contract,
                    type,
                    AvroToRowDataConverters.createRowConverter(type),
                    places,
                    context.createTypeInformation(produced));
        }

        private static int place(String name, RowType type) {
            if (name.equals(VALUE)) {
                return AvroOrReason.VALUE;
            }
            if (name.equals(REASON)) {
                return AvroOrReason.REASON;
            }
            int found = type.getFieldIndex(name);
            if (found < 0) {
                throw new IllegalArgumentException("the contract has no field " + name);
            }
            return found;
        }

        @Override
        public ChangelogMode getChangelogMode() {
            return ChangelogMode.insertOnly();
        }
    }
}
