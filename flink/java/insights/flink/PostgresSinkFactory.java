package insights.flink;

import org.apache.flink.api.common.functions.RuntimeContext;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.ExecutionConfig;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.java.typeutils.InputTypeConfigurable;
import org.apache.flink.connector.jdbc.core.table.JdbcDynamicTableFactory;
import org.apache.flink.connector.jdbc.internal.GenericJdbcSinkFunction;
import org.apache.flink.table.connector.sink.legacy.SinkFunctionProvider;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.functions.sink.legacy.RichSinkFunction;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.sink.DynamicTableSink;
import org.apache.flink.table.data.RowData;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The connector {@code jdbc}, as {@code postgres-upsert}: with a sink that may fail to close.
 *
 * <p>The connector's sink flushes when it is closed and throws when the database is away. Flink closes the sinks of a
 * job that fails, and takes an exception then for a fault of the whole TaskManager: the process ends (Task.doRun,
 * "FATAL - exception in exception handler"). What was not flushed is counted again from the newest checkpoint, so there
 * is nothing to save. A job that ends in good order flushes in {@code finish}, where an exception fails the job.
 */
public class PostgresSinkFactory extends JdbcDynamicTableFactory {

    @Override
    public String factoryIdentifier() {
        return "postgres-upsert";
    }

    @Override
    public DynamicTableSink createDynamicTableSink(Context context) {
        return new Sink(super.createDynamicTableSink(context));
    }

    private static final class Sink implements DynamicTableSink {
        private final DynamicTableSink inner;

        Sink(DynamicTableSink inner) {
            this.inner = inner;
        }

        @Override
        public ChangelogMode getChangelogMode(ChangelogMode requested) {
            return inner.getChangelogMode(requested);
        }

        @Override
        public SinkRuntimeProvider getSinkRuntimeProvider(Context context) {
            SinkFunctionProvider provider = (SinkFunctionProvider) inner.getSinkRuntimeProvider(context);
            GenericJdbcSinkFunction<RowData> function =
                    (GenericJdbcSinkFunction<RowData>) provider.createSinkFunction();
            return SinkFunctionProvider.of(new Function(function), provider.getParallelism().orElse(null));
        }

        @Override
        public DynamicTableSink copy() {
            return new Sink(inner.copy());
        }

        @Override
        public String asSummaryString() {
            return inner.asSummaryString();
        }
    }

    private static final class Function extends RichSinkFunction<RowData>
            implements CheckpointedFunction, InputTypeConfigurable {
        private static final long serialVersionUID = 1L;
        private static final Logger LOG = LoggerFactory.getLogger(PostgresSinkFactory.class);

        private final GenericJdbcSinkFunction<RowData> inner;

        Function(GenericJdbcSinkFunction<RowData> inner) {
            this.inner = inner;
        }

        @Override
        public void setRuntimeContext(RuntimeContext context) {
            super.setRuntimeContext(context);
            inner.setRuntimeContext(context);
        }

        @Override
        public void setInputType(TypeInformation<?> type, ExecutionConfig config) {
            inner.setInputType(type, config);
        }

        @Override
        public void open(OpenContext context) throws Exception {
            inner.open(context);
        }

        @Override
        public void invoke(RowData row, Context context) throws Exception {
            inner.invoke(row, context);
        }

        @Override
        public void initializeState(FunctionInitializationContext context) throws Exception {
            inner.initializeState(context);
        }

        /** All rows so far are in the database when this returns; the context is not read. */
        @Override
        public void snapshotState(FunctionSnapshotContext context) throws Exception {
            inner.snapshotState(context);
        }

        @Override
        public void finish() throws Exception {
            inner.snapshotState(null);
        }

        @Override
        public void close() {
            try {
                inner.close();
            } catch (Exception failed) {
                LOG.warn("A sink of a job that failed could not flush: {}", failed.toString());
            }
        }
    }
}
