package insights.flink;

import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.regex.Pattern;
import org.apache.flink.api.common.eventtime.TimestampAssigner;
import org.apache.flink.api.common.eventtime.TimestampAssignerSupplier;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkAlignmentParams;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkGeneratorSupplier;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.apache.flink.streaming.connectors.kafka.config.BoundedMode;
import org.apache.flink.streaming.connectors.kafka.config.StartupMode;
import org.apache.flink.streaming.connectors.kafka.table.KafkaDynamicSource;
import org.apache.flink.streaming.connectors.kafka.table.KafkaDynamicTableFactory;
import org.apache.flink.table.connector.format.DecodingFormat;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.types.DataType;
import org.apache.flink.util.clock.RelativeClock;

/**
 * The connector {@code kafka} for the log of events, as {@code event-log}: with watermarks that {@link SilentPartitions}
 * makes. Its option {@code silent-after} stands for {@code table.exec.source.idle-timeout}, which is not to be set. With
 * {@code other-topics.url}, a topic that is silent goes as far as {@link OtherTopics} says. With {@code progress.url},
 * {@link Progress} is reported.
 */
public class EventLogFactory extends KafkaDynamicTableFactory {
    private static final ConfigOption<Duration> SILENT_AFTER =
            ConfigOptions.key("silent-after").durationType().defaultValue(Duration.ofMinutes(1));

    private static final ConfigOption<String> URL =
            ConfigOptions.key("other-topics.url").stringType().noDefaultValue();
    private static final ConfigOption<String> USER =
            ConfigOptions.key("other-topics.username").stringType().defaultValue("");
    private static final ConfigOption<String> PASSWORD =
            ConfigOptions.key("other-topics.password").stringType().defaultValue("");

    private static final ConfigOption<String> PROGRESS_URL =
            ConfigOptions.key("progress.url").stringType().noDefaultValue();
    private static final ConfigOption<Integer> PROGRESS_SUBTASKS =
            ConfigOptions.key("progress.subtasks").intType().defaultValue(1);
    private static final ConfigOption<String> PROGRESS_USER =
            ConfigOptions.key("progress.username").stringType().defaultValue("");
    private static final ConfigOption<String> PROGRESS_PASSWORD =
            ConfigOptions.key("progress.password").stringType().defaultValue("");

    private Configuration options;

    @Override
    public String factoryIdentifier() {
        return "event-log";
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        Set<ConfigOption<?>> options = new HashSet<>(super.optionalOptions());
        options.addAll(Set.of(SILENT_AFTER, URL, USER, PASSWORD, PROGRESS_URL, PROGRESS_SUBTASKS, PROGRESS_USER, PROGRESS_PASSWORD));
        return options;
    }

    @Override
    public DynamicTableSource createDynamicTableSource(Context context) {
        options = Configuration.fromMap(context.getCatalogTable().getOptions());
        return super.createDynamicTableSource(context);
    }

    @Override
    protected KafkaDynamicSource createKafkaTableSource(
            DataType physical,
            DecodingFormat<DeserializationSchema<RowData>> keyFormat,
            DecodingFormat<DeserializationSchema<RowData>> valueFormat,
            int[] keyProjection,
            int[] valueProjection,
            String keyPrefix,
            List<String> topics,
            Pattern topicPattern,
            Properties properties,
            StartupMode startup,
            Map<TopicPartition, Long> startupOffsets,
            long startupMillis,
            BoundedMode bounded,
            Map<TopicPartition, Long> boundedOffsets,
            long boundedMillis,
            String table,
            Integer parallelism) {
        String url = options.get(URL);
        OtherTopics others =
                url == null ? null : new OtherTopics(url, options.get(USER), options.get(PASSWORD), topics.get(0));
        return new Source(
                options.get(SILENT_AFTER), others, progress(properties, topics), physical, keyFormat, valueFormat,
                keyProjection, valueProjection, keyPrefix, topics, topicPattern, properties, startup, startupOffsets,
                startupMillis, bounded, boundedOffsets, boundedMillis, table, parallelism);
    }

    private Progress progress(Properties properties, List<String> topics) {
        String url = options.get(PROGRESS_URL);
        return url == null
                ? null
                : new Progress(
                        url,
                        options.get(PROGRESS_USER),
                        options.get(PROGRESS_PASSWORD),
                        properties.getProperty("group.id"),
                        topics.get(0),
                        options.get(PROGRESS_SUBTASKS));
    }

    private static final class Source extends KafkaDynamicSource {
        private final Duration silentAfter;
        private final OtherTopics others;
        private final Progress progress;

        Source(
                Duration silentAfter,
                OtherTopics others,
                Progress progress,
                DataType physical,
                DecodingFormat<DeserializationSchema<RowData>> keyFormat,
                DecodingFormat<DeserializationSchema<RowData>> valueFormat,
                int[] keyProjection,
                int[] valueProjection,
                String keyPrefix,
                List<String> topics,
                Pattern topicPattern,
                Properties properties,
                StartupMode startup,
                Map<TopicPartition, Long> startupOffsets,
                long startupMillis,
                BoundedMode bounded,
                Map<TopicPartition, Long> boundedOffsets,
                long boundedMillis,
                String table,
                Integer parallelism) {
            super(
                    physical, keyFormat, valueFormat, keyProjection, valueProjection, keyPrefix, topics, topicPattern,
                    properties, startup, startupOffsets, startupMillis, bounded, boundedOffsets, boundedMillis, false,
                    table, parallelism);
            this.silentAfter = silentAfter;
            this.others = others;
            this.progress = progress;
        }

        @Override
        public void applyWatermark(WatermarkStrategy<RowData> strategy) {
            super.applyWatermark(new Strategy(strategy, silentAfter.toNanos(), others, progress));
        }

        /** Last of all, when it is settled which metadata a row has, after its other columns. */
        @Override
        public ScanRuntimeProvider getScanRuntimeProvider(ScanContext context) {
            if (watermarkStrategy instanceof Strategy) {
                int others = DataType.getFieldCount(producedDataType) - metadataKeys.size();
                ((Strategy) watermarkStrategy).rowsHave(
                        others + metadataKeys.indexOf("partition"), others + metadataKeys.indexOf("offset"));
            }
            return super.getScanRuntimeProvider(context);
        }

        @Override
        public DynamicTableSource copy() {
            Source copy = new Source(
                    silentAfter, others, progress, physicalDataType, keyDecodingFormat, valueDecodingFormat,
                    keyProjection, valueProjection, keyPrefix, topics, topicPattern, properties, startupMode,
                    specificStartupOffsets, startupTimestampMillis, boundedMode, specificBoundedOffsets,
                    boundedTimestampMillis, tableIdentifier, parallelism);
            copy.producedDataType = producedDataType;
            copy.metadataKeys = metadataKeys;
            copy.watermarkStrategy = watermarkStrategy;
            return copy;
        }
    }

    /** What {@code inner} says of each partition, and of the silent ones what SilentPartitions says. */
    private static final class Strategy implements WatermarkStrategy<RowData> {
        private static final long serialVersionUID = 1L;

        private final WatermarkStrategy<RowData> inner;
        private final long silentNanos;
        private final OtherTopics others;
        private final Progress progress;
        private int partitionAt;
        private int offsetAt;
        // Of the one subtask that this copy was sent to.
        private transient SilentPartitions partitions;
        private transient Progress.Subtask reports;

        Strategy(WatermarkStrategy<RowData> inner, long silentNanos, OtherTopics others, Progress progress) {
            this.inner = inner;
            this.silentNanos = silentNanos;
            this.others = others;
            this.progress = progress;
        }

        void rowsHave(int partitionAt, int offsetAt) {
            this.partitionAt = partitionAt;
            this.offsetAt = offsetAt;
        }

        @Override
        public TimestampAssigner<RowData> createTimestampAssigner(TimestampAssignerSupplier.Context context) {
            return inner.createTimestampAssigner(context);
        }

        @Override
        public WatermarkAlignmentParams getAlignmentParameters() {
            return inner.getAlignmentParameters();
        }

        @Override
        public WatermarkGenerator<RowData> createWatermarkGenerator(WatermarkGeneratorSupplier.Context context) {
            WatermarkGenerator<RowData> own = inner.createWatermarkGenerator(context);
            if (partitions == null) {
                // Flink's first one is for what comes of no partition, which is nothing.
                partitions = new SilentPartitions(silentNanos);
                if (progress != null) {
                    reports = progress.subtask(context.getMetricGroup().getAllVariables(), partitionAt, offsetAt);
                }
                return own;
            }
            return new Generator(own, partitions, others, reports, context.getInputActivityClock());
        }
    }

    private static final class Generator implements WatermarkGenerator<RowData>, WatermarkOutput {
        private final WatermarkGenerator<RowData> inner;
        private final SilentPartitions.Partition partition;
        private final OtherTopics others;
        private final Progress.Subtask reports;
        private final Progress.Subtask.Split report;
        private final RelativeClock reading;
        private long own = Long.MIN_VALUE;

        Generator(
                WatermarkGenerator<RowData> inner,
                SilentPartitions partitions,
                OtherTopics others,
                Progress.Subtask reports,
                RelativeClock reading) {
            this.inner = inner;
            this.others = others;
            this.reports = reports;
            this.report = reports == null ? null : reports.add();
            this.partition = partitions.add(reading.relativeTimeNanos());
            this.reading = reading;
        }

        @Override
        public void onEvent(RowData event, long timestamp, WatermarkOutput output) {
            partition.heard(reading.relativeTimeNanos());
            if (report != null) {
                report.read(event);
            }
            inner.onEvent(event, timestamp, this);
        }

        @Override
        public void onPeriodicEmit(WatermarkOutput output) {
            inner.onPeriodicEmit(this);
            long now = System.nanoTime();
            long silenceClock = reading.relativeTimeNanos();
            boolean asks = others != null && partition.isSilent(silenceClock);
            long reached = partition.watermark(own, asks ? others.reached(now) : Long.MIN_VALUE, now, silenceClock);
            if (reached != Long.MIN_VALUE) {
                output.emitWatermark(new Watermark(reached));
            }
            if (report != null) {
                report.reached(reached);
                reports.step(now);
            }
        }

        @Override
        public void emitWatermark(Watermark watermark) {
            own = Math.max(own, watermark.getTimestamp());
        }

        @Override
        public void markIdle() {}

        @Override
        public void markActive() {}
    }
}
