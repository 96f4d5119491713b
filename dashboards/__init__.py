"""Numbers for people: a YAML a dashboard, its model, and a web page that draws any of them."""
