package io.darkroom.directory;

import com.unboundid.ldap.listener.Base64PasswordEncoderOutputFormatter;
import com.unboundid.ldap.listener.InMemoryDirectoryServer;
import com.unboundid.ldap.listener.InMemoryDirectoryServerConfig;
import com.unboundid.ldap.listener.InMemoryListenerConfig;
import com.unboundid.ldap.listener.SaltedMessageDigestInMemoryPasswordEncoder;
import com.unboundid.ldap.sdk.OperationType;
import com.unboundid.util.ssl.SSLUtil;
import java.io.IOException;
import java.io.Reader;
import java.net.InetAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.EnumSet;
import java.util.Properties;
import java.util.Set;
import javax.net.ssl.KeyManager;

/**
 * An LDAP directory for a laptop: one process, in memory, saved with every change.
 *
 * <p>It listens with TLS on the loopback interface alone. Nobody asks without having bound; no hash of a password leaves
 * it, whoever asks; and only the administrator writes. A change is on the disk before it is acknowledged.
 *
 * <p>Its one argument is a file of properties: port, base, ldif, certificate and key (PEM), admin.dn and admin.password,
 * reader.dn and reader.password. Limits: one administrator, no replication, everything is held in memory and the whole
 * file is written with each change.
 */
public final class Directory {
  private static final int SALT_BYTES = 16;
  private static final int MOST_CONNECTIONS = 256;
  private static final int LARGEST_MESSAGE_BYTES = 1024 * 1024;

  private Directory() {}

  /** Starts the directory and waits for the end of the process. */
  public static void main(String[] arguments) throws Exception {
    if (arguments.length != 1) {
      System.err.println("usage: java io.darkroom.directory.Directory FILE-OF-PROPERTIES");
      System.exit(2);
    }
    Properties settings = new Properties();
    try (Reader reader = Files.newBufferedReader(Path.of(arguments[0]))) {
      settings.load(reader);
    }
    InMemoryDirectoryServer server = start(settings);
    Runtime.getRuntime().addShutdownHook(new Thread(() -> server.shutDown(true)));
    System.out.println("the directory listens at ldaps://127.0.0.1:" + server.getListenPort("ldaps"));
    Thread.currentThread().join();
  }

  static InMemoryDirectoryServer start(Properties settings) throws Exception {
    String base = required(settings, "base");
    Path saved = Path.of(required(settings, "ldif"));
    String admin = required(settings, "admin.dn");
    InMemoryDirectoryServerConfig config = new InMemoryDirectoryServerConfig(base);
    config.addAdditionalBindCredentials(admin, required(settings, "admin.password"));
    config.addAdditionalBindCredentials(required(settings, "reader.dn"), required(settings, "reader.password"));
    config.setListenerConfigs(listener(settings));
    config.setMaxConnections(MOST_CONNECTIONS);
    config.setMaxMessageSizeBytes(LARGEST_MESSAGE_BYTES);
    config.setGenerateOperationalAttributes(true);
    config.setEqualityIndexAttributes("uid", "cn", "member");
    // Passwords are stored salted; what comes in clear is encoded before it is kept.
    config.setPasswordAttributes("userPassword");
    config.setPasswordEncoders(
        new SaltedMessageDigestInMemoryPasswordEncoder(
            "{SSHA512}",
            Base64PasswordEncoderOutputFormatter.getInstance(),
            MessageDigest.getInstance("SHA-512"),
            SALT_BYTES,
            false,
            true));
    Set<OperationType> bound = EnumSet.allOf(OperationType.class);
    bound.removeAll(EnumSet.of(OperationType.BIND, OperationType.UNBIND, OperationType.ABANDON));
    config.setAuthenticationRequiredOperationTypes(bound);
    Guard guard = new Guard(admin);
    config.addInMemoryOperationInterceptor(guard);
    InMemoryDirectoryServer server = new InMemoryDirectoryServer(config);
    if (Files.exists(saved)) {
      server.importFromLDIF(true, saved.toFile());
    } else {
      server.add("dn: " + base, "objectClass: top", "objectClass: domain", "dc: " + firstValue(base));
      server.add("dn: ou=people," + base, "objectClass: top", "objectClass: organizationalUnit", "ou: people");
      server.add("dn: ou=groups," + base, "objectClass: top", "objectClass: organizationalUnit", "ou: groups");
    }
    guard.saveTo(server, saved);
    guard.save();
    server.startListening("ldaps");
    return server;
  }

  private static InMemoryListenerConfig listener(Properties settings) throws Exception {
    KeyManager[] own = Pem.keyManagers(Path.of(required(settings, "certificate")), Path.of(required(settings, "key")));
    SSLUtil tls = new SSLUtil(own, null);
    return InMemoryListenerConfig.createLDAPSConfig(
        "ldaps",
        InetAddress.getByName("127.0.0.1"),
        Integer.parseInt(required(settings, "port")),
        tls.createSSLServerSocketFactory(),
        null);
  }

  private static String firstValue(String base) {
    return base.substring(base.indexOf('=') + 1, base.indexOf(',') < 0 ? base.length() : base.indexOf(','));
  }

  private static String required(Properties settings, String name) throws IOException {
    String value = settings.getProperty(name);
    if (value == null || value.isBlank()) {
      throw new IOException("The directory's properties lack " + name + ".");
    }
    return value;
  }
}
