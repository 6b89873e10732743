package io.darkroom.spark;

import jakarta.servlet.Filter;
import jakarta.servlet.FilterChain;
import jakarta.servlet.FilterConfig;
import jakarta.servlet.ServletException;
import jakarta.servlet.ServletRequest;
import jakarta.servlet.ServletResponse;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.sparkproject.jetty.ee10.servlet.ServletContextHandler;
import org.sparkproject.jetty.server.Connector;
import org.sparkproject.jetty.server.Server;
import org.sparkproject.jetty.server.SslConnectionFactory;

/**
 * Closes the port in the clear that Spark opens beside a page by TLS to redirect from, and which no property closes.
 *
 * <p>Named in {@code spark.ui.filters}. Spark initialises a filter with each handler that it adds to a page, right after it
 * has opened the ports and before it says where the page is. Every request goes through unchanged.
 */
public final class PagesByTls implements Filter {
  /**
   * Closes every port of the page that is not TLS.
   *
   * @throws ServletException if the page has no port by TLS, or a port does not close: the service then does not start
   */
  @Override
  public void init(FilterConfig config) throws ServletException {
    Server server = ServletContextHandler.getServletContextHandler(config.getServletContext()).getServer();
    List<Connector> plain = new ArrayList<>();
    boolean encrypted = false;
    for (Connector connector : server.getConnectors()) {
      if (connector.getConnectionFactory(SslConnectionFactory.class) != null) {
        encrypted = true;
      } else {
        plain.add(connector);
      }
    }
    if (!encrypted) {
      throw new ServletException(
          "This page has no port by TLS, so that none would be left: set spark.ssl.standalone.enabled and its key store,"
              + " or take io.darkroom.spark.PagesByTls out of spark.ui.filters.");
    }
    for (Connector connector : plain) {
      try {
        connector.stop();
      } catch (Exception error) {
        throw new ServletException("The port in the clear beside the page does not close: " + connector, error);
      }
      server.removeConnector(connector);
    }
  }

  @Override
  public void doFilter(ServletRequest request, ServletResponse response, FilterChain chain)
      throws IOException, ServletException {
    chain.doFilter(request, response);
  }
}
