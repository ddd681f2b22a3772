"""A small strict server for the parts of Google Cloud Storage's JSON API that the service uses.

Written from Google's documentation; a comment beside each rule names the page under
https://cloud.google.com/storage/docs/ and its section. What is not documented, or not used by us, is refused (400),
so that a test shows it. It keeps bodies in files without a name, so its memory does not grow with them, and takes
time in proportion to their size. Start it with ``python -m tests.support.gcs_server``, or in tests with
``tests.support.gcs.strict_gcs``. Faults are set, and calls counted, under ``/_control`` (see faults.py).

The same tests run on fake-gcs-server 1.56.1. Where it differs from the documentation (tried, and read in its source):

- Preconditions on deletes and reads are ignored (request-preconditions: 412, or 304). On uploads they are looked at
  when the object is made, but not when a resumable session is started.
- ``X-Goog-Hash`` of a resumable upload's last request is ignored, and ``crc32c`` of the metadata is forgotten after the
  first chunk of a resumable upload that has more (data-validation#server-side: the write is rejected with 400).
- Cancelling an upload answers 499 but leaves the session open; asking for its status with ``bytes */SIZE`` makes the
  object of whatever arrived (performing-resumable-uploads#cancel-upload, #status-check).
- A chunk may have any size and any offset; offsets are not compared (performing-resumable-uploads#chunked-upload).
- With every chunk of a resumable upload the checksums of all that arrived are taken anew: the time grows with the
  square of the size, and the memory with several times the size.
- A page token is the next object's name, and any text is accepted as one (json_api/v1/objects/list: opaque).
- The ETag of an object is its MD5; a missing object and a missing bucket are told with the same words; names such as
  ``..`` and with line breaks are accepted (docs/objects#naming).
- ``fields`` is ignored, and so are unknown query parameters.
- Nobody is asked for an access token.
"""
