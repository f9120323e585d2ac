import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import com.sun.net.httpserver.HttpsConfigurator;
import com.sun.net.httpserver.HttpsServer;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.util.Arrays;
import java.util.Locale;
import java.util.concurrent.Executors;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;

/** The testbed's Java application on the JDK's own server: `App HOST PORT [KEYSTORE]`. Prints one JSON line per request. */
public final class App {
    private static byte[] filled(int n) {
        byte[] bytes = new byte[n];
        Arrays.fill(bytes, (byte) 'x');
        return bytes;
    }

    private static long send(HttpExchange e, int status, byte[] body) throws IOException {
        boolean none = body.length == 0 || e.getRequestMethod().equals("HEAD");
        if (e.getRequestMethod().equals("HEAD")) {
            e.getResponseHeaders().set("Content-Length", Integer.toString(body.length));
        }
        e.sendResponseHeaders(status, none ? -1 : body.length);
        if (!none) {
            e.getResponseBody().write(body);
        }
        return none ? 0 : body.length;
    }

    private static long chunks(HttpExchange e, int count, byte[] chunk, int last, long pauseMs)
            throws IOException, InterruptedException {
        if (e.getRequestMethod().equals("HEAD")) {
            e.sendResponseHeaders(200, -1);
            return 0;
        }
        e.sendResponseHeaders(200, 0);
        OutputStream out = e.getResponseBody();
        for (int i = 0; i < count; i++) {
            out.write(chunk);
            out.flush();
            Thread.sleep(pauseMs);
        }
        out.write(filled(last));
        return (long) count * chunk.length + last;
    }

    private static void handle(HttpExchange e) throws IOException {
        long begin = System.nanoTime();
        String[] parts = e.getRequestURI().getPath().substring(1).split("/", 2);
        String arg = parts.length == 2 ? parts[1] : "";
        int status = 200;
        long sent = 0;
        try (e) {
            byte[] body = e.getRequestBody().readAllBytes();
            switch (parts[0]) {
                case "hello" -> sent = send(e, 200, "hello\n".getBytes());
                case "items" -> sent = send(e, 200, ("item " + arg + "\n").getBytes());
                case "status" -> {
                    status = Integer.parseInt(arg);
                    sent = send(e, status, new byte[0]);
                }
                case "sleep" -> {
                    Thread.sleep(Long.parseLong(arg));
                    sent = send(e, 200, "slept\n".getBytes());
                }
                case "bytes" -> sent = send(e, 200, filled(Integer.parseInt(arg)));
                case "chunked" -> {
                    int n = Integer.parseInt(arg);
                    sent = chunks(e, n / 1000, filled(1000), n % 1000, 0);
                }
                case "sse" -> {
                    e.getResponseHeaders().set("Content-Type", "text/event-stream");
                    sent = chunks(e, 5, "data: 0\n\n".getBytes(), 0, 20);
                }
                case "echo" -> sent = send(e, 200, body);
                default -> {
                    status = 404;
                    sent = send(e, 404, new byte[0]);
                }
            }
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
        double seconds = (System.nanoTime() - begin) / 1e9;
        System.out.println(String.format(Locale.ROOT,
                "{\"method\": \"%s\", \"target\": \"%s\", \"status\": %d, \"body_bytes\": %d, \"duration_s\": %.6f}",
                e.getRequestMethod(), e.getRequestURI(), status, sent, seconds));
    }

    private static HttpServer encrypted(InetSocketAddress where, String store)
            throws IOException, GeneralSecurityException {
        char[] password = "testbed".toCharArray();
        KeyStore keys = KeyStore.getInstance("PKCS12");
        try (FileInputStream file = new FileInputStream(store)) {
            keys.load(file, password);
        }
        KeyManagerFactory factory = KeyManagerFactory.getInstance("SunX509");
        factory.init(keys, password);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(factory.getKeyManagers(), null, null);
        HttpsServer server = HttpsServer.create(where, 128);
        server.setHttpsConfigurator(new HttpsConfigurator(context));
        return server;
    }

    public static void main(String[] args) throws IOException, GeneralSecurityException {
        InetSocketAddress where = new InetSocketAddress(InetAddress.getByName(args[0]), Integer.parseInt(args[1]));
        HttpServer server = args.length > 2 ? encrypted(where, args[2]) : HttpServer.create(where, 128);
        server.createContext("/", App::handle);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
    }
}
