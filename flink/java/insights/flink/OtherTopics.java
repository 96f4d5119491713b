package insights.flink;

import java.io.Serializable;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * How far a silent topic is, by the other topics that an aggregate counts together with it: its row in ops.silent_topics.
 *
 * <p>Postgres is asked now and then by a thread of its own, which ends with the answer: the source never waits for it.
 * While it is away, the last answer holds.
 */
final class OtherTopics implements Serializable {
    private static final long serialVersionUID = 1L;
    private static final Logger LOG = LoggerFactory.getLogger(OtherTopics.class);
    private static final long EVERY = TimeUnit.SECONDS.toNanos(10);
    private static final int QUERY_SECONDS = 10;
    private static final String QUERY =
            "select cast(extract(epoch from reached) * 1000 as bigint) from ops.silent_topics where topic = ?";

    static {
        PostgresDriver.load();
    }

    private final String url;
    private final String user;
    private final String password;
    private final String topic;
    private final AtomicBoolean asking = new AtomicBoolean();
    private volatile long answer = Long.MIN_VALUE;
    // Of the task's thread alone.
    private boolean asked;
    private long askedAt;

    OtherTopics(String url, String user, String password, String topic) {
        this.url = url;
        this.user = user;
        this.password = password;
        this.topic = topic;
    }

    /** The last answer, in milliseconds since the epoch, or the least long. Never blocks. */
    long reached(long now) {
        if ((!asked || now - askedAt >= EVERY) && asking.compareAndSet(false, true)) {
            asked = true;
            askedAt = now;
            Thread thread = new Thread(this::ask, "how far other topics are: " + topic);
            thread.setDaemon(true);
            thread.start();
        }
        return answer;
    }

    private void ask() {
        try (Connection connection = DriverManager.getConnection(url, user, password);
                PreparedStatement query = connection.prepareStatement(QUERY)) {
            query.setQueryTimeout(QUERY_SECONDS);
            query.setString(1, topic);
            try (ResultSet row = query.executeQuery()) {
                answer = row.next() ? row.getLong(1) : Long.MIN_VALUE;
            }
        } catch (SQLException failed) {
            LOG.info("Postgres does not say how far other topics than {} are: {}", topic, failed.toString());
        } finally {
            asking.set(false);
        }
    }
}
