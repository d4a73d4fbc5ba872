"""The service's HTTP contract: each call as a value, each answer as a model or one of our errors.

Pure: no clock, event loop, network, disk or global chance. The service's words and paths stand here and nowhere else;
bytes are moved by `client`, and what an error means to a wait that goes on is judged by `scheduler`.

What the client relies on, and how sure it is: [S] the service's page on querying a task, [D] another of its public
pages, [C] read off other people's public clients, [?] assumed.

Calls
- The base URL is `https://cn2us02.opapi.win` [S]; each call is a POST with `Authorization: Bearer TOKEN` [S].
- A body is a URL-encoded form [S] with `model=midjourney` in it [S]; JSON is taken too, and recommended [D]. Images go
  as JSON: a form field that stands there once is a string to common servers, and no list [?].
- `mj/query` takes `taskId` [S]. `mj/query-mj-tasks?page=1&pageSize=12` lists the account's tasks, newest first, 5 to 20
  a page, with a total [D].
- `mj/imagine` takes `prompt`, `type` (NORMAL, or FAST, which is also the default), `base64Array` and `webhook` [D].
  `mj/action` takes `taskId`, `customId` and `base64Mask`, `mj/blend` 2 to 5 images and `dimensions`, `mj/describe` one
  image as `base64` [C]. Each answers with the new task's ID [D] [C], costs money, and is no call to repeat.

Answers
- An answer is `{"statusCode", "message", "data"}` [S]. The code in the body decides, also where HTTP says 200; 200 is
  success, 400 any failure [D]. Only the answers for other IDs tell whose failure a 400 is [?].
- HTTP's 401, 403, 429 (`Retry-After` or not) and 5xx mean what they usually do, and a proxy on the way may answer HTML
  or nothing [?].
- No such task: a message that says so, null `data`, or a 404 with an envelope [?]. A task just made may be unknown for
  a moment [?].

Records
- Fifteen fields, all of which may be null or missing, whatever the page says [S]. The types come from one example, and
  kin services differ in each: `wire_values` says what is read in which way [?].
- SUCCESS is final [S], and so is FAILURE; NOT_START, SUBMITTED and IN_PROGRESS are not [C]. MODAL waits for its user,
  CANCEL is final. An empty word ends nothing; an unknown one with a finish time, or a reason and no image, does [?].
- `progress` is text such as `"46%"` [S]. Times are ISO with milliseconds [S], null until they are reached [?].
- `imageDcUrl` is on Discord's CDN and expires, `imageS3Url` in the service's storage, where it is set [S] [D], as a URL
  or as a key [C]; both can be had through WSRV, smaller too [D].
- `actions` offer what comes next; their custom IDs are opaque [S] [C].
- A webhook posts the bare record and nothing signs it [C]: it is a hint of when to poll.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omgmj.protocol.messages import Answer, Fate, Passage, Request
else:

    def __getattr__(name: str) -> object:
        # For one version: transports of users import these from here.
        if name not in __all__:
            raise AttributeError(f"module 'omgmj.protocol' has no attribute {name!r}")
        import warnings  # noqa: PLC0415 (only where it is needed)

        from omgmj.protocol import messages  # noqa: PLC0415 (as above)

        warnings.warn(f"import {name} from omgmj: omgmj.protocol.{name} goes", DeprecationWarning, stacklevel=2)
        return getattr(messages, name)


__all__ = ["Answer", "Fate", "Passage", "Request"]
