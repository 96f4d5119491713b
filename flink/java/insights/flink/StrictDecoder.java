package insights.flink;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import org.apache.flink.avro.shaded.org.apache.avro.io.BinaryDecoder;
import org.apache.flink.avro.shaded.org.apache.avro.io.Decoder;
import org.apache.flink.avro.shaded.org.apache.avro.io.DecoderFactory;
import org.apache.flink.avro.shaded.org.apache.avro.util.Utf8;

/**
 * Avro's decoder, held to its specification. By itself it takes any bytes for a text and any byte but 1 for false, and of
 * a number that is too large for its type it takes what fits. Throws {@link Unreadable} for these.
 */
final class StrictDecoder extends Decoder {
    private final byte[] one = new byte[1];
    private BinaryDecoder inner;

    /** From here on reads these bytes, and none that were left of others. */
    void read(byte[] bytes, int from) {
        inner = DecoderFactory.get().binaryDecoder(bytes, from, bytes.length - from, inner);
    }

    boolean isEnd() throws IOException {
        return inner.isEnd();
    }

    @Override
    public boolean readBoolean() throws IOException {
        inner.readFixed(one, 0, 1);
        if (one[0] != 0 && one[0] != 1) {
            throw new Unreadable(String.format("a true or false in it is the byte %02X, and not 01 or 00", one[0]));
        }
        return one[0] == 1;
    }

    @Override
    public int readInt() throws IOException {
        long value = inner.readLong();
        if (value != (int) value) {
            throw new Unreadable("a number in it is larger than its type: " + value);
        }
        return (int) value;
    }

    @Override
    public int readEnum() throws IOException {
        return readInt();
    }

    @Override
    public int readIndex() throws IOException {
        return readInt();
    }

    @Override
    public Utf8 readString(Utf8 old) throws IOException {
        Utf8 text = inner.readString(old);
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

    @Override
    public String readString() throws IOException {
        return readString(null).toString();
    }

    @Override
    public void readNull() throws IOException {
        inner.readNull();
    }

    @Override
    public long readLong() throws IOException {
        return inner.readLong();
    }

    @Override
    public float readFloat() throws IOException {
        return inner.readFloat();
    }

    @Override
    public double readDouble() throws IOException {
        return inner.readDouble();
    }

    @Override
    public void skipString() throws IOException {
        inner.skipString();
    }

    @Override
    public ByteBuffer readBytes(ByteBuffer old) throws IOException {
        return inner.readBytes(old);
    }

    @Override
    public void skipBytes() throws IOException {
        inner.skipBytes();
    }

    @Override
    public void readFixed(byte[] bytes, int start, int length) throws IOException {
        inner.readFixed(bytes, start, length);
    }

    @Override
    public void skipFixed(int length) throws IOException {
        inner.skipFixed(length);
    }

    @Override
    public long readArrayStart() throws IOException {
        return inner.readArrayStart();
    }

    @Override
    public long arrayNext() throws IOException {
        return inner.arrayNext();
    }

    @Override
    public long skipArray() throws IOException {
        return inner.skipArray();
    }

    @Override
    public long readMapStart() throws IOException {
        return inner.readMapStart();
    }

    @Override
    public long mapNext() throws IOException {
        return inner.mapNext();
    }

    @Override
    public long skipMap() throws IOException {
        return inner.skipMap();
    }
}
