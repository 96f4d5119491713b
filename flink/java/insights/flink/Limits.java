package insights.flink;

/**
 * What Avro may make room for. A record of fifty bytes can say that it holds a text of two billion, and Avro would make
 * room for it before it looks: the process would be out of memory. Kafka takes no record as large as this.
 */
final class Limits {
    private static final String BYTES = String.valueOf(64 << 20);
    private static final String ITEMS = String.valueOf(4 << 20);

    private Limits() {}

    /** Before Avro reads its first record in this process, which is when it looks at them. */
    static void set() {
        // The name as Avro has it, and as it is in Flink's copy.
        for (String prefix : new String[] {"org.apache.avro", "org.apache.flink.avro.shaded.org.apache.avro"}) {
            System.setProperty(prefix + ".limits.bytes.maxLength", BYTES);
            System.setProperty(prefix + ".limits.string.maxLength", BYTES);
            System.setProperty(prefix + ".limits.collectionItems.maxLength", ITEMS);
        }
    }
}
