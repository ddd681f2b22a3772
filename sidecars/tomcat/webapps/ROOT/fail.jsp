<%@ page contentType="text/plain; charset=UTF-8" session="false" %><%!
  /** So deep that the trace is long. */
  private void dig(int depth) {
    if (depth == 0) throw new IllegalStateException("nothing is left\n  not even here: \"quoted\"");
    dig(depth - 1);
  }
%><%
  try {
    dig(60);
  } catch (IllegalStateException cause) {
    throw new RuntimeException("the sale failed", cause);
  }
%>
