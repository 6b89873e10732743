package io.darkroom.spark;

import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.KeyStore;
import java.security.SecureRandom;
import java.util.Base64;
import javax.net.ServerSocketFactory;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLServerSocketFactory;
import javax.net.ssl.TrustManagerFactory;
import py4j.GatewayServer;

/**
 * What Python drives a Spark session through (py4j), by TLS with the same certificate on both ends.
 *
 * <p>In the place of PySpark's own, {@code org.apache.spark.api.python.PythonGatewayServer}, which can only speak in the
 * clear: it tells its port and a secret in the file that {@code _PYSPARK_DRIVER_CONN_INFO_PATH} names, and ends with its
 * standard input. {@code DARKROOM_GATEWAY_IDENTITY} names a PKCS #12 file with one key and its certificate,
 * {@code DARKROOM_GATEWAY_PASSWORD} is its password. See resources/spark_gateway.py, which starts this.
 */
public final class Gateway {
  private static final int SECRET_BYTES = 32;
  private static final String NAME = "gateway";

  private Gateway() {}

  public static void main(String[] arguments) throws Exception {
    byte[] random = new byte[SECRET_BYTES];
    new SecureRandom().nextBytes(random);
    String secret = Base64.getUrlEncoder().withoutPadding().encodeToString(random);
    SSLContext context = context(Path.of(given("DARKROOM_GATEWAY_IDENTITY")), given("DARKROOM_GATEWAY_PASSWORD"));
    // Not py4j's ClientServer, which takes a factory of sockets and opens plain ones all the same (0.10.9.9).
    GatewayServer server =
        new GatewayServer.GatewayServerBuilder()
            .javaPort(0)
            .javaAddress(InetAddress.getLoopbackAddress())
            .serverSocketFactory(new Mutual(context))
            .authToken(secret)
            .build();
    server.start();
    tell(Path.of(given("_PYSPARK_DRIVER_CONN_INFO_PATH")), server.getListeningPort(), secret);
    // The pipe breaks when Python ends, however it ends.
    System.in.transferTo(OutputStream.nullOutputStream());
    System.exit(0);
  }

  private static String given(String name) {
    String value = System.getenv(name);
    if (value == null || value.isEmpty()) {
      throw new IllegalArgumentException("The environment variable " + name + " is not set: Darkroom's Python sets it.");
    }
    return value;
  }

  private static SSLContext context(Path file, String password) throws Exception {
    KeyStore own = KeyStore.getInstance("PKCS12");
    try (InputStream stored = Files.newInputStream(file)) {
      own.load(stored, password.toCharArray());
    }
    KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
    keys.init(own, password.toCharArray());
    KeyStore trusted = KeyStore.getInstance("PKCS12");
    trusted.load(null, null);
    trusted.setCertificateEntry(NAME, own.getCertificate(NAME));
    TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(trusted);
    SSLContext context = SSLContext.getInstance("TLSv1.3");
    context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
    return context;
  }

  /** Writes what PySpark reads, whole or not at all: it looks for the file and not for its end. */
  private static void tell(Path file, int port, String secret) throws Exception {
    Path staged =
        Files.createTempFile(
            file.getParent(), "connection", ".info", PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
    byte[] words = secret.getBytes(StandardCharsets.UTF_8);
    try (DataOutputStream written = new DataOutputStream(Files.newOutputStream(staged))) {
      written.writeInt(port);
      written.writeInt(words.length);
      written.write(words);
    }
    Files.move(staged, file, StandardCopyOption.ATOMIC_MOVE);
  }

  /** Sockets that want the other end's certificate, too, and speak nothing older than TLS 1.3. */
  private static final class Mutual extends ServerSocketFactory {
    private final SSLServerSocketFactory sockets;

    Mutual(SSLContext context) {
      sockets = context.getServerSocketFactory();
    }

    @Override
    public ServerSocket createServerSocket() throws IOException {
      return strict(sockets.createServerSocket());
    }

    @Override
    public ServerSocket createServerSocket(int port) throws IOException {
      return strict(sockets.createServerSocket(port));
    }

    @Override
    public ServerSocket createServerSocket(int port, int backlog) throws IOException {
      return strict(sockets.createServerSocket(port, backlog));
    }

    @Override
    public ServerSocket createServerSocket(int port, int backlog, InetAddress address)
        throws IOException {
      return strict(sockets.createServerSocket(port, backlog, address));
    }

    private static ServerSocket strict(ServerSocket socket) {
      SSLServerSocket secured = (SSLServerSocket) socket;
      secured.setNeedClientAuth(true);
      secured.setEnabledProtocols(new String[] {"TLSv1.3"});
      return secured;
    }
  }
}
