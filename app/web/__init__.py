"""The page at `/` and the viewer at `/ui/embed/{id}`: static files that use the public `/v1` and nothing else.

Plain ES modules and custom elements without a framework and without a build step: what the page shows is canvases, and
a store of a hundred lines is less to maintain than a bundler. One component per file, in `static/components/`.
"""
