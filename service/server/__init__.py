"""All of gunicorn, and everything below WSGI.

A request, from the socket to the response:

1. ``connections.py``: the main thread accepts the connection, and a selector waits for its request. A head or small
   body that is not complete within HEAD_TIMEOUT is cut off here (``close_late``).
2. ``request_reader.py``: what has arrived is collected until the request head, and a small body, are complete.
3. ``request_queue.py``: the request waits for a thread. More than can be served are refused (``worker.py``).
4. ``worker.py``: a thread takes the request. gunicorn parses the request head, the application is called, and
   gunicorn writes its response. ``error_responses.py`` has the responses to requests that the application never sees.
5. ``client_socket.py``: every read and write has a time-out and a least rate. A larger body that arrives too slowly is
   cut off here.
6. ``connections.py``: the connection waits in the selector for its next request, or until the client closes it.

From SIGTERM to the exit:

1. ``arbiter.py``: ``handle_sigterm`` says "not ready" to all workers, and sets a timer of SHUTDOWN_DELAY. Requests are
   served as before, with "Connection: close".
2. ``arbiter.py``: when the timer ends, ``handle_sigalrm`` raises StopIteration, on which gunicorn's main loop ends and
   calls ``stop``. That tells the workers to end and sends them SIGTERM.
3. ``worker.py``: the loop ends. Connections in the backlog are taken, the listeners are closed, requests in flight have
   SHUTDOWN_GRACE. Those that still wait for a thread then are refused, and those that are not complete are cut.
4. ``application.py``: ``_worker_exit`` closes the stores, and the worker exits.
5. ``arbiter.py``: gunicorn has waited for all workers, and exits with 0.

``application.py`` starts all this with gunicorn's settings and hooks; ``logger.py`` leads gunicorn's log into ours.
"""
