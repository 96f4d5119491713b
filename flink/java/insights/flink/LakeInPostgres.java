package insights.flink;

import org.apache.iceberg.jdbc.JdbcCatalog;

/** Iceberg's catalog in a database, with Postgres' driver loaded. */
public class LakeInPostgres extends JdbcCatalog {

    static {
        PostgresDriver.load();
    }
}
