package insights.flink;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import org.apache.flink.avro.shaded.org.apache.avro.Schema;
import org.apache.flink.avro.shaded.org.apache.avro.generic.GenericDatumReader;
import org.apache.flink.avro.shaded.org.apache.avro.generic.GenericRecord;
import org.apache.flink.avro.shaded.org.apache.avro.io.Decoder;
import org.apache.flink.avro.shaded.org.apache.avro.util.Utf8;

/** Avro's reader, which takes what its specification allows and no more: for Avro any bytes are a text. */
final class RecordReader extends GenericDatumReader<GenericRecord> {
    RecordReader(Schema writer, Schema reader) {
        super(writer, reader);
    }

    @Override
    protected Object readString(Object old, Schema expected, Decoder in) throws IOException {
        Utf8 text = in.readString(null);
        byte[] bytes = text.getBytes();
        int length = text.getByteLength();
        for (int n = 0; n < length; n++) {
            if (bytes[n] < 0) {
                check(bytes, length);
                break;
            }
        }
        return text;
    }

    /** Java would put a question mark in the place of what is none of its letters. */
    private static void check(byte[] bytes, int length) throws Unreadable {
        try {
            StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes, 0, length));
        } catch (CharacterCodingException notText) {
            throw new Unreadable("a text in it is not UTF-8");
        }
    }
}
