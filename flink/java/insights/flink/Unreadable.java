package insights.flink;

import java.io.IOException;

/** A record can't be read, whoever tries and however often: the message says why. */
final class Unreadable extends IOException {
    private static final long serialVersionUID = 1L;

    Unreadable(String reason) {
        super(reason);
    }
}
