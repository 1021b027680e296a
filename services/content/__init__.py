"""Content: memes, their files, and the pipeline that turns pictures into films."""
