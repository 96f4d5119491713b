package insights.flink;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.StringJoiner;

/**
 * Says how far each partition is by {@link SilentPartitions}.
 *
 * <p>Input: a line "anew TIMEOUT PARTITIONS OTHERS", where others is how far other topics say they are. Then a line a moment: the time, and for each
 * partition "-" or the watermark that its own events say from then on. Output: a line a moment with each one's watermark.
 */
public final class FollowMany {
    private FollowMany() {}

    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        SilentPartitions.Partition[] partitions = new SilentPartitions.Partition[0];
        long[] own = new long[0];
        long others = Long.MIN_VALUE;
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            if (words[0].equals("anew")) {
                SilentPartitions all = new SilentPartitions(Long.parseLong(words[1]));
                others = Long.parseLong(words[3]);
                partitions = new SilentPartitions.Partition[Integer.parseInt(words[2])];
                own = new long[partitions.length];
                for (int n = 0; n < partitions.length; n++) {
                    partitions[n] = all.add(0);
                    own[n] = Long.MIN_VALUE;
                }
                continue;
            }
            long now = Long.parseLong(words[0]);
            StringJoiner told = new StringJoiner(" ");
            for (int n = 0; n < partitions.length; n++) {
                if (!words[n + 1].equals("-")) {
                    partitions[n].heard(now);
                    own[n] = Math.max(own[n], Long.parseLong(words[n + 1]));
                }
            }
            for (int n = 0; n < partitions.length; n++) {
                told.add(Long.toString(partitions[n].watermark(own[n], others, now, now)));
            }
            System.out.println(told);
        }
    }
}
