package io.darkroom.directory;

import com.unboundid.ldap.listener.InMemoryDirectoryServer;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedAddRequest;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedAddResult;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedCompareRequest;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedDeleteRequest;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedDeleteResult;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedExtendedRequest;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedModifyDNRequest;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedModifyDNResult;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedModifyRequest;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedModifyResult;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedRequest;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedSASLBindRequest;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedSearchEntry;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedSearchRequest;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedSimpleBindRequest;
import com.unboundid.ldap.listener.interceptor.InMemoryInterceptedSimpleBindResult;
import com.unboundid.ldap.listener.interceptor.InMemoryOperationInterceptor;
import com.unboundid.ldap.sdk.DN;
import com.unboundid.ldap.sdk.Entry;
import com.unboundid.ldap.sdk.Filter;
import com.unboundid.ldap.sdk.LDAPException;
import com.unboundid.ldap.sdk.LDAPResult;
import com.unboundid.ldap.sdk.ResultCode;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/** What the stock server lets through and this one does not: see {@link Directory}. */
final class Guard extends InMemoryOperationInterceptor {
  private static final String PASSWORD = "userPassword";

  private final DN admin;
  private final Map<Long, DN> bound = new ConcurrentHashMap<>();
  private InMemoryDirectoryServer server;
  private Path saved;

  Guard(String admin) throws LDAPException {
    this.admin = new DN(admin);
  }

  void saveTo(InMemoryDirectoryServer of, Path path) {
    server = of;
    saved = path;
  }

  /** Writes everything, for the owner of the process alone: the whole file at once, and on the disk before it returns. */
  synchronized void save() throws IOException, LDAPException {
    Path staged = saved.resolveSibling("." + saved.getFileName() + ".new");
    Files.deleteIfExists(staged);
    Files.createFile(staged, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
    server.exportToLDIF(staged.toString(), true, true);
    try (FileChannel channel = FileChannel.open(staged, StandardOpenOption.WRITE)) {
      channel.force(true);
    }
    Files.move(staged, saved, StandardCopyOption.ATOMIC_MOVE);
  }

  @Override
  public void processSimpleBindRequest(InMemoryInterceptedSimpleBindRequest request) throws LDAPException {
    // Who binds again is nobody until the answer.
    bound.remove(request.getConnectionID());
    // By the standard a name without a password is an anonymous bind, which many a client takes for success.
    if (request.getRequest().getPassword() == null || request.getRequest().getPassword().getValueLength() == 0) {
      throw new LDAPException(ResultCode.INVALID_CREDENTIALS, "a password is needed");
    }
  }

  @Override
  public void processSimpleBindResult(InMemoryInterceptedSimpleBindResult result) {
    if (ResultCode.SUCCESS.equals(result.getResult().getResultCode())) {
      try {
        bound.put(result.getConnectionID(), new DN(result.getRequest().getBindDN()));
      } catch (LDAPException unreadable) {
        bound.remove(result.getConnectionID());
      }
    }
  }

  @Override
  public void processSASLBindRequest(InMemoryInterceptedSASLBindRequest request) throws LDAPException {
    throw new LDAPException(ResultCode.AUTH_METHOD_NOT_SUPPORTED, "only simple binds are taken");
  }

  @Override
  public void processExtendedRequest(InMemoryInterceptedExtendedRequest request) throws LDAPException {
    // Passwords are changed by the administrator; transactions and the rest are nobody's.
    throw new LDAPException(ResultCode.UNWILLING_TO_PERFORM, "extended operations are not taken");
  }

  @Override
  public void processAddRequest(InMemoryInterceptedAddRequest request) throws LDAPException {
    insistOnAdmin(request);
  }

  @Override
  public void processModifyRequest(InMemoryInterceptedModifyRequest request) throws LDAPException {
    insistOnAdmin(request);
  }

  @Override
  public void processDeleteRequest(InMemoryInterceptedDeleteRequest request) throws LDAPException {
    insistOnAdmin(request);
  }

  @Override
  public void processModifyDNRequest(InMemoryInterceptedModifyDNRequest request) throws LDAPException {
    insistOnAdmin(request);
  }

  @Override
  public void processAddResult(InMemoryInterceptedAddResult result) {
    result.setResult(settled(result.getResult()));
  }

  @Override
  public void processModifyResult(InMemoryInterceptedModifyResult result) {
    result.setResult(settled(result.getResult()));
  }

  @Override
  public void processDeleteResult(InMemoryInterceptedDeleteResult result) {
    result.setResult(settled(result.getResult()));
  }

  @Override
  public void processModifyDNResult(InMemoryInterceptedModifyDNResult result) {
    result.setResult(settled(result.getResult()));
  }

  @Override
  public void processCompareRequest(InMemoryInterceptedCompareRequest request) throws LDAPException {
    if (PASSWORD.equalsIgnoreCase(baseName(request.getRequest().getAttributeName()))) {
      throw new LDAPException(ResultCode.INSUFFICIENT_ACCESS_RIGHTS, "passwords are not compared");
    }
  }

  @Override
  public void processSearchRequest(InMemoryInterceptedSearchRequest request) throws LDAPException {
    // A filter that asks for beginnings of hashes would spell them out.
    if (asksForPassword(request.getRequest().getFilter())) {
      throw new LDAPException(ResultCode.INSUFFICIENT_ACCESS_RIGHTS, "passwords are not searched for");
    }
  }

  @Override
  public void processSearchEntry(InMemoryInterceptedSearchEntry found) {
    Entry shown = found.getSearchEntry().duplicate();
    if (shown.removeAttribute(PASSWORD)) {
      found.setSearchEntry(shown);
    }
  }

  private void insistOnAdmin(InMemoryInterceptedRequest request) throws LDAPException {
    if (!admin.equals(bound.get(request.getConnectionID()))) {
      throw new LDAPException(ResultCode.INSUFFICIENT_ACCESS_RIGHTS, "only the administrator writes");
    }
  }

  private LDAPResult settled(LDAPResult result) {
    if (!ResultCode.SUCCESS.equals(result.getResultCode())) {
      return result;
    }
    try {
      save();
      return result;
    } catch (IOException | LDAPException failed) {
      System.err.println("the directory could not be saved: " + failed);
      return new LDAPResult(
          result.getMessageID(),
          ResultCode.OTHER,
          "it holds until the directory ends: it could not be saved",
          null,
          new String[0],
          null);
    }
  }

  private static boolean asksForPassword(Filter filter) {
    if (PASSWORD.equalsIgnoreCase(baseName(filter.getAttributeName()))) {
      return true;
    }
    if (filter.getNOTComponent() != null && asksForPassword(filter.getNOTComponent())) {
      return true;
    }
    for (Filter part : filter.getComponents()) {
      if (asksForPassword(part)) {
        return true;
      }
    }
    return false;
  }

  /** An attribute's name without its options: userPassword;x is userPassword too. */
  private static String baseName(String name) {
    if (name == null) {
      return "";
    }
    int options = name.indexOf(';');
    String base = options < 0 ? name : name.substring(0, options);
    return base.equals("2.5.4.35") ? PASSWORD : base;
  }
}
