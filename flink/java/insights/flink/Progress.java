package insights.flink;

import java.io.Serializable;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;
import org.apache.flink.table.data.RowData;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Reports how far a topic has been read, to ops.job_progress, for a Flink that can't be asked.
 *
 * <p>A row says: this subtask's watermark is this, and it had read each partition up to there, or less, when it became
 * that. Once the job has committed those offsets, all that the watermark is made of is in the tables. The first row of a
 * run has no watermark, and replaces that of the run before: what that one read is not committed by this one's offsets.
 * Postgres is told by a thread of its own, which ends with the report: the source never waits for it.
 */
final class Progress implements Serializable {
    private static final long serialVersionUID = 1L;
    private static final Logger LOG = LoggerFactory.getLogger(Progress.class);
    private static final long EVERY = TimeUnit.SECONDS.toNanos(10);
    private static final int STATEMENT_SECONDS = 10;
    private static final String REPORT =
            "insert into ops.job_progress (job, topic, subtask, run, subtasks, watermark, read_until, reported_at)"
                    + " values (?, ?, ?, ?, ?, timestamptz 'epoch' + ? * interval '1 millisecond', ?, now())"
                    + " on conflict (job, topic, subtask) do update set run = excluded.run,"
                    + " subtasks = excluded.subtasks, watermark = excluded.watermark, read_until = excluded.read_until,"
                    + " reported_at = excluded.reported_at";

    static {
        PostgresDriver.load();
    }

    private final String url;
    private final String user;
    private final String password;
    private final String job;
    private final String topic;
    private final int subtasks;

    Progress(String url, String user, String password, String job, String topic, int subtasks) {
        this.url = url;
        this.user = user;
        this.password = password;
        this.job = job;
        this.topic = topic;
        this.subtasks = subtasks;
    }

    /** Of one run of one subtask, by the variables of its metrics; {@code ...At}: where a row has these. */
    Subtask subtask(Map<String, String> variables, int partitionAt, int offsetAt) {
        return new Subtask(
                Integer.parseInt(variables.get("<subtask_index>")),
                variables.get("<job_id>") + "/" + variables.get("<task_attempt_id>"),
                partitionAt,
                offsetAt);
    }

    /** All but the writing is the task's thread's. */
    final class Subtask {
        private final int index;
        private final String run;
        private final int partitionAt;
        private final int offsetAt;
        private final List<Split> splits = new ArrayList<>();
        private final AtomicBoolean writing = new AtomicBoolean();
        private long lookedAt = System.nanoTime() - EVERY;
        private volatile boolean hasBegun;
        private volatile long reported = Long.MIN_VALUE;

        private Subtask(int index, String run, int partitionAt, int offsetAt) {
            this.index = index;
            this.run = run;
            this.partitionAt = partitionAt;
            this.offsetAt = offsetAt;
        }

        Split add() {
            Split added = new Split();
            splits.add(added);
            return added;
        }

        /** Never blocks. */
        void step(long now) {
            if (now - lookedAt < EVERY || !writing.compareAndSet(false, true)) {
                return;
            }
            lookedAt = now;
            long watermark = splits.stream().mapToLong(split -> split.watermark).min().orElse(Long.MIN_VALUE);
            boolean begins = !hasBegun;
            if (!begins && (watermark == reported || watermark == Long.MIN_VALUE)) {
                writing.set(false);
                return;
            }
            String until = splits.stream()
                    .filter(split -> split.partition >= 0)
                    .map(split -> split.partition + ":" + split.next)
                    .collect(Collectors.joining(" "));
            Thread thread = new Thread(() -> write(begins ? null : watermark, until), "progress of " + topic);
            thread.setDaemon(true);
            thread.start();
        }

        private void write(Long watermark, String until) {
            try (Connection connection = DriverManager.getConnection(url, user, password);
                    PreparedStatement statement = connection.prepareStatement(REPORT)) {
                statement.setQueryTimeout(STATEMENT_SECONDS);
                statement.setString(1, job);
                statement.setString(2, topic);
                statement.setInt(3, index);
                statement.setString(4, run);
                statement.setInt(5, subtasks);
                statement.setObject(6, watermark, Types.BIGINT);
                statement.setString(7, until);
                statement.executeUpdate();
                hasBegun = true;
                reported = watermark == null ? reported : watermark;
            } catch (SQLException failed) {
                LOG.info("Postgres does not take how far {} has been read: {}", topic, failed.toString());
            } finally {
                writing.set(false);
            }
        }

        /** One partition's part of it. */
        final class Split {
            private int partition = -1;
            private long next = -1;
            private long watermark = Long.MIN_VALUE;

            void read(RowData event) {
                partition = event.getInt(partitionAt);
                next = event.getLong(offsetAt) + 1;
            }

            void reached(long watermark) {
                this.watermark = watermark;
            }
        }
    }
}
