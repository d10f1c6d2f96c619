"""The dashboard: pages for browsers, beside the API, another reader of the same use cases.

`pages` has a module for each page, `templates` their text, `static` the style and the script. `visitor` tells who looks,
`request` is what a page asks and answers with, `router` puts all together.
"""
