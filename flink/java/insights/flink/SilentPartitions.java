package insights.flink;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/**
 * How far each partition is, in event time, where some are silent: those follow the others, a while later.
 *
 * <p>Flink leaves a partition that is silent out of the common watermark, which then goes by the others alone and at
 * once. An event of that partition that comes with theirs, seconds later, is judged by them. Here a partition that was
 * silent for the timeout is as far as any other was the timeout ago. So what is late does not depend on how long all
 * had been silent before.
 *
 * <p>Times are nanoseconds of a clock that never goes back; each partition's silence may go by a clock of its own, which
 * stands still while nothing is read.
 */
final class SilentPartitions {
    private final long timeout;
    private final List<Partition> all = new ArrayList<>();
    private long followed = Long.MIN_VALUE;

    SilentPartitions(long timeoutNanos) {
        this.timeout = timeoutNanos;
    }

    Partition add(long silenceClock) {
        Partition added = new Partition(silenceClock);
        all.add(added);
        return added;
    }

    /** How far any was the timeout ago. Those that speak hold the common watermark back by themselves. */
    private void follow(long now) {
        for (Partition partition : all) {
            followed = Math.max(followed, partition.reachedBy(now - timeout));
        }
    }

    /** One partition. Its watermark never goes back. */
    final class Partition {
        private final Deque<long[]> steps = new ArrayDeque<>();
        private long lastHeard;
        private long reached = Long.MIN_VALUE;
        private long reachedBefore = Long.MIN_VALUE;

        private Partition(long silenceClock) {
            lastHeard = silenceClock;
        }

        void heard(long silenceClock) {
            lastHeard = silenceClock;
        }

        boolean isSilent(long silenceClock) {
            return silenceClock - lastHeard >= timeout;
        }

        /** The watermark it has now: its own events say {@code own}, other topics say {@code others} if it is silent. */
        long watermark(long own, long others, long now, long silenceClock) {
            follow(now);
            step(Math.max(own, isSilent(silenceClock) ? Math.max(followed, others) : Long.MIN_VALUE), now);
            return reached;
        }

        private void step(long to, long now) {
            if (to > reached) {
                reached = to;
                steps.addLast(new long[] {now, to});
            }
        }

        /** How far it was then. Only asked for later and later times. */
        private long reachedBy(long then) {
            while (!steps.isEmpty() && steps.peekFirst()[0] <= then) {
                reachedBefore = steps.removeFirst()[1];
            }
            return reachedBefore;
        }
    }
}
