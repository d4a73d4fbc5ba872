"""Images: to disk from where the service keeps them, and to the service from what a user hands in.

A download is streamed, bounded and checked, and its file (`part_file`) has its final name only when it is whole. It
tries one way after the other, through the transport it is given, without the token; redirects go only where the SSRF
guard of `client` lets them. An upload becomes a data URI. A type (`media_type`) is told from the first bytes, never
from a name. What takes long is done in a thread.

The URLs of an image are read in `protocol`. How many transfers go on at once is the caller's business.
"""
