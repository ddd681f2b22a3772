<%@ page contentType="text/plain; charset=UTF-8" session="false" %><%--
Log the lines from..to, as an application that knows nothing of containers does. --%><%
  int from = Integer.parseInt(request.getParameter("from"));
  int to = Integer.parseInt(request.getParameter("to"));
  if (to - from > 10000) throw new IllegalArgumentException("at most 10000 lines");
  java.util.logging.Logger logger = java.util.logging.Logger.getLogger("org.example.Ledger");
  for (int number = from; number < to; number++) logger.warning("ledger " + number);
%>Logged <%= to - from %> lines.
