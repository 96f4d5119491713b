package insights.tests;

import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerExtensionsValidatorCallback;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

/**
 * A broker's half of a login by IAM: a token is an address of kafka.REGION.amazonaws.com, signed (AWS' signature
 * version 4, in the query) for kafka-cluster:Connect, in base64. It knows one key, that of the environment.
 */
public final class SignedAddresses implements AuthenticateCallbackHandler {
    private static final DateTimeFormatter TIME =
            DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);

    private record Token(String value, String principalName, Long startTimeMs, long lifetimeMs)
            implements OAuthBearerToken {
        @Override
        public Set<String> scope() {
            return Set.of();
        }
    }

    @Override
    public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {}

    @Override
    public void close() {}

    @Override
    public void handle(Callback[] callbacks) throws UnsupportedCallbackException {
        for (Callback callback : callbacks) {
            if (callback instanceof OAuthBearerValidatorCallback asked) {
                try {
                    asked.token(read(asked.tokenValue()));
                } catch (Exception refused) {
                    asked.error(String.valueOf(refused.getMessage()), null, null);
                }
            } else if (callback instanceof OAuthBearerExtensionsValidatorCallback asked) {
                asked.inputExtensions().map().keySet().forEach(asked::valid);
            } else {
                throw new UnsupportedCallbackException(callback);
            }
        }
    }

    private static Token read(String token) throws Exception {
        URI address = URI.create(new String(Base64.getUrlDecoder().decode(token), StandardCharsets.UTF_8));
        TreeMap<String, String> raw = new TreeMap<>();
        for (String pair : address.getRawQuery().split("&")) {
            raw.put(pair.substring(0, pair.indexOf('=')), pair.substring(pair.indexOf('=') + 1));
        }
        Map<String, String> query = raw.entrySet().stream().collect(Collectors.toMap(
                Map.Entry::getKey, entry -> URLDecoder.decode(entry.getValue(), StandardCharsets.UTF_8)));
        String region = System.getenv("AWS_REGION");
        String time = query.get("X-Amz-Date");
        String scope = time.substring(0, 8) + "/" + region + "/kafka-cluster/aws4_request";
        holds("kafka-cluster:Connect".equals(query.get("Action")), "another action");
        holds(address.getHost().equals("kafka." + region + ".amazonaws.com"), "another host: " + address.getHost());
        String credential = System.getenv("AWS_ACCESS_KEY_ID") + "/" + scope;
        holds(credential.equals(query.get("X-Amz-Credential")), "another key or region");
        raw.remove("X-Amz-Signature");
        raw.remove("User-Agent");  // what follows the signature is not signed
        holds(query.get("X-Amz-Signature").equals(signature(raw, address.getHost(), time, scope)), "a wrong signature");
        long from = Instant.from(TIME.parse(time)).toEpochMilli();
        long until = from + 1000 * Long.parseLong(query.get("X-Amz-Expires"));
        holds(System.currentTimeMillis() < until, "the token has expired");
        return new Token(token, System.getenv("AWS_ACCESS_KEY_ID"), from, until);
    }

    private static void holds(boolean condition, String otherwise) {
        if (!condition) {
            throw new IllegalArgumentException(otherwise);
        }
    }

    private static String signature(TreeMap<String, String> query, String host, String time, String scope)
            throws Exception {
        String asked = query.entrySet().stream().map(e -> e.getKey() + "=" + e.getValue())
                .collect(Collectors.joining("&"));
        String request = String.join("\n", "GET", "/", asked, "host:" + host, "", "host", digest(""));
        String text = String.join("\n", "AWS4-HMAC-SHA256", time, scope, digest(request));
        byte[] key = ("AWS4" + System.getenv("AWS_SECRET_ACCESS_KEY")).getBytes(StandardCharsets.UTF_8);
        for (String part : scope.split("/")) {
            key = keyed(key, part);
        }
        return HexFormat.of().formatHex(keyed(key, text));
    }

    private static String digest(String text) throws Exception {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    }

    private static byte[] keyed(byte[] key, String text) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
    }
}
