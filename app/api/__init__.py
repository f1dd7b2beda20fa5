"""The HTTP surface: routes, request bodies, and the rules of HTTP that they share."""
