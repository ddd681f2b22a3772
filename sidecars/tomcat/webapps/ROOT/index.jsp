<%@ page contentType="text/plain; charset=UTF-8" session="true" %><%--
How often this was asked for. --%><%
  java.util.concurrent.atomic.AtomicLong counter;
  synchronized (application) {
    counter = (java.util.concurrent.atomic.AtomicLong) application.getAttribute("counter");
    if (counter == null) {
      counter = new java.util.concurrent.atomic.AtomicLong();
      application.setAttribute("counter", counter);
    }
  }
%>Asked <%= counter.incrementAndGet() %> times.
