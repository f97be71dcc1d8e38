"""One page of HTML for whatever a folder holds.

`contents` finds it, `sections` says what came of it, `curves` and `replays` are the data of what moves on the page, and
`page` joins all of it with `page.html`, `page.css` and `page.js`.
"""
