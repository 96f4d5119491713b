package insights.flink;

/** Java finds the drivers of its own class path by itself, and none that comes with a job. */
final class PostgresDriver {

    private PostgresDriver() {}

    static void load() {
        try {
            Class.forName("org.postgresql.Driver");
        } catch (ClassNotFoundException error) {
            throw new IllegalStateException("Postgres' driver is not among the jars", error);
        }
    }
}
