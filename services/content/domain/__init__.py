"""Rules of content: what a picture and a film must be, how memes move on. Pure, no I/O."""
