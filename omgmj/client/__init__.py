"""One call to the service: its slot, its token, its time, its retries, and the bytes.

The only room, beside the fake's server, that knows aiohttp, and here only `aiohttp_adapter` and `connections` do:
`transport` is a border of plain values. The token is revealed to a transport alone, and is in no error, log line, repr
or traceback.

`exchange` makes the call, `deadline` bounds its time, `retrying` tries again what is idempotent; what costs money goes
out twice only where the first surely was not read. Where the service has several addresses, `failover` asks at one
after the other, as `mirrors` chooses. `limiter` gives slots: places in flight, the rate of `backoff`, three classes.
`credentials` asks for the token anew after a 401. `ssrf` guards where downloads may go, `proxies` reads the
environment's, `names` looks names up. `timer` notices when the process stood still, `clock` dates what is sent.

What an answer means is read in `protocol`. What is asked when is `polling`'s business; nothing here knows of waits.
"""
