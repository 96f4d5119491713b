package insights.flink;

import org.apache.flink.table.catalog.Catalog;
import org.apache.hadoop.conf.Configuration;
import org.apache.iceberg.flink.FlinkCatalogFactory;

/**
 * Iceberg's catalog, as {@code insights-lake}: without Hadoop's configuration of the machine.
 *
 * <p>Iceberg's own factory asks Flink for that, whose class loader then needs Hadoop. Where all that is ours comes as
 * one jar with the job, as on Managed Service for Apache Flink, Flink does not see it.
 */
public class LakeCatalogFactory extends FlinkCatalogFactory {

    @Override
    public String factoryIdentifier() {
        return "insights-lake";
    }

    @Override
    public Catalog createCatalog(Context context) {
        return createCatalog(context.getName(), context.getOptions(), new Configuration());
    }
}
